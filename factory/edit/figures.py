"""What an edit changed, inside of the painted region and outside."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from factory.data import IGNORE


@dataclass(frozen=True, slots=True)
class EditFigures:
    """Figures of one edit; those of a region without pixels are 0."""

    painted_px: int
    """Pixels that were painted with another class than they had."""
    painted_before: float
    """Share of the painted pixels that had the wanted class, 0 to 1."""
    painted_after: float
    """Share of them that have it now."""
    inside_change: float
    """Mean change of colours where another class was painted, 0 to 255."""
    outside_change: float
    """Mean change of colours elsewhere, 0 to 255."""
    outside_class_change: float
    """Share of the pixels elsewhere that have another class now, 0 to 1."""


def measure_edit(
    images: tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]],
    masks: tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]],
    painted: UInt8[np.ndarray, "h w"],
) -> EditFigures:
    """Measure what changed from the first to the second of `images` and `masks`.

    `painted` is 255 where nothing is painted; what was painted as it was already counts as outside.
    """
    is_painted = painted != IGNORE
    inside = is_painted & (painted != masks[0])
    change = np.abs(images[1].astype(np.int16) - images[0]).mean(axis=2)
    agreeing = [_mean((mask == painted)[is_painted]) for mask in masks]
    return EditFigures(
        painted_px=int(inside.sum()),
        painted_before=agreeing[0],
        painted_after=agreeing[1],
        inside_change=_mean(change[inside]),
        outside_change=_mean(change[~inside]),
        outside_class_change=_mean((masks[0] != masks[1])[~inside]),
    )


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 6) if values.size else 0.0
