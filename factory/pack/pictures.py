"""Decode pictures that others made to RGB: upright, on white, 8 bits; or say what is odd about them."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

MOST_PX = 2**26
"""Of one picture: decoding it holds up to four copies of its pixels."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""What is decoded, whatever a file is called. Other decoders of Pillow start programs, or nobody
looks after them."""

PILLOW_ERRORS = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, ArithmeticError,
    EOFError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for files that are not as they should be."""

_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation to what makes the picture upright."""

ON_WHITE = "transparent parts are laid on white"
SHRUNK = "16 bits of a channel are cut to the upper 8"
FIRST_ONLY = "only the first picture of a file with several is used"


def decode_picture(data: bytes) -> tuple[Image.Image, list[str]]:
    """Decode a picture file: upright, on white, and 8 bits of a 16-bit PNG.

    Returns:
        The picture (mode RGB), and what was done that its owner may not expect.

    Raises:
        ValueError: If it is not a whole picture of `FORMATS`, has more than `MOST_PX` pixels, or
            values whose range nobody states: floats, and more than 8 bits in all but PNG.
    """
    with _in_one_line():
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = opened.size
    if width * height > MOST_PX:
        raise ValueError(
            f"is {width} x {height} px; at most {MOST_PX / 1e6:.0f} megapixels are read"
        )
    with _in_one_line():
        opened.load()
        has_several = getattr(opened, "is_animated", False) and opened.format != "MPO"
        turn = _UPRIGHT_BY.get(opened.getexif().get(_ORIENTATION, 1))
    _check_range(opened)
    with _in_one_line():
        pixels, notes = _to_rgb(opened)
    if has_several:
        notes.append(FIRST_ONLY)
    return pixels.transpose(turn) if turn is not None else pixels, notes


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Whatever Pillow has against a file, as one kind of error, and no warning."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"is of far too many pixels; at most {MOST_PX / 1e6:.0f} megapixels are read"
        ) from error
    except PILLOW_ERRORS as error:
        raise ValueError("is not a whole picture") from error


def _check_range(opened: Image.Image) -> None:
    bits: tuple[int, ...] = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    is_deep = opened.mode.startswith("I") and opened.format != "PNG"
    if opened.mode == "F" or is_deep or any(count > 8 for count in bits):
        raise ValueError(
            f"is a {opened.format} of mode {opened.mode} with more than 8 bits a channel, and nothing "
            "says what its black and white are; convert it to 8 bits"
        )


def _to_rgb(opened: Image.Image) -> tuple[Image.Image, list[str]]:
    if opened.mode.startswith("I"):
        deep = np.asarray(opened)
        shallow = (deep >> 8).astype(np.uint8)
        hidden = opened.info.get("transparency")
        if isinstance(hidden, int):
            shallow[deep == hidden] = 255
        notes = [SHRUNK, ON_WHITE] if isinstance(hidden, int) else [SHRUNK]
        return Image.fromarray(shallow).convert("RGB"), notes
    if not opened.has_transparency_data:
        return opened.convert("RGB"), []
    shown = opened.convert("RGBA")
    if shown.getchannel("A").getextrema() == (255, 255):
        return shown.convert("RGB"), []
    ground = Image.new("RGBA", shown.size, "white")
    return Image.alpha_composite(ground, shown).convert("RGB"), [ON_WHITE]
