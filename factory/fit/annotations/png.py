"""Masks painted as PNG: class ids as grey values, or classes by colour."""

import numpy as np
from jaxtyping import Int64, UInt8

from factory.data import IGNORE
from factory.fit.annotations.classes import PaintedClasses
from factory.pack.image import decode_painting

_OPAQUE = 128
"""Alpha from which a pixel is painted."""

_MOST_SHOWN = 3


def read_png(data: bytes, classes: PaintedClasses) -> UInt8[np.ndarray, "h w"]:
    """The mask of a PNG: grey values are class ids, colours are those of the classes.

    Not painted (255) is what is transparent, and black unless a class is black.

    Raises:
        ValueError: If it is not a whole PNG, or holds an id or a colour of no class.
    """
    pixels = decode_painting(data)
    if pixels.ndim == 2:
        values, counts = np.unique(pixels, return_counts=True)
        is_unknown = (values >= classes.num_classes) & (values != IGNORE)
        if is_unknown.any():
            shown = _listed([str(value) for value in values[is_unknown]], counts[is_unknown])
            raise ValueError(
                f"holds grey values {shown} of no class; values are 0 to {classes.num_classes - 1}, and "
                f"{IGNORE} = not painted"
            )
        return pixels
    return _by_colour(pixels, classes)


def _by_colour(
    pixels: UInt8[np.ndarray, "h w 4"], classes: PaintedClasses
) -> UInt8[np.ndarray, "h w"]:
    wide = pixels.astype(np.int64)
    packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    mask = np.full(packed.shape, IGNORE, dtype=np.uint8)
    is_open = pixels[..., 3] >= _OPAQUE
    for (red, green, blue), class_id in classes.colours.items():
        found = is_open & (packed == (red << 16 | green << 8 | blue))
        mask[found] = class_id
        is_open &= ~found
    if is_open.any():
        values, counts = np.unique(packed[is_open], return_counts=True)
        shown = _listed([f"#{value:06x}" for value in values.tolist()], counts)
        raise ValueError(
            f"holds colours {shown} of no class; known: {classes.coloured()}; paint with these, without "
            "soft edges, or name the colours in `classes`"
        )
    return mask


def _listed(names: list[str], counts: Int64[np.ndarray, " v"]) -> str:
    """The most frequent of some values with their pixels."""
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{names[place]} ({counts[place]} px)" for place in order[:_MOST_SHOWN])
    more = len(names) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
