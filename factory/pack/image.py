"""Encode and decode image files. Masks are PNG mode L: readers turn palette PNGs into colours."""

import io
import struct
import warnings
import zlib

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, UnidentifiedImageError

from factory.pack.deflate import deflate
from factory.spec import EncodeSpec

IMAGE_ENDING = {"png": "png", "webp": "webp", "jpeg": "jpg"}
"""File name ending of each image format."""

MOST_SIDE_PX = 4096
"""Longest side of an image or mask that is read: four times that of the largest generators."""

_ORIENTATION, _TURNED = 0x0112, range(2, 9)
"""The EXIF tag of how a picture is shown, and its values if that is not as it is stored."""

_FORMATS = ("PNG", "WEBP", "JPEG")
_BROKEN = (
    *(UnidentifiedImageError, OSError, SyntaxError, struct.error, zlib.error),
    *(Image.DecompressionBombError, EOFError, OverflowError, MemoryError),
)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Fixed for all rows: the difference to the row above is one subtraction of arrays, which releases
# the GIL, while a choice per row has to try all five filters.
_FILTER_UP = 2
_COLOUR_GREY, _COLOUR_RGB, _COLOUR_RGBA = 0, 2, 6
_RGBA_CHANNELS = 4


def encode_image(image: UInt8[np.ndarray, "h w c"], spec: EncodeSpec) -> bytes:
    """Encode an RGB image (0 to 255) as PNG, lossless WebP or JPEG. Pillow releases the GIL.

    With a fourth channel, which is its alpha, it can be PNG or WebP.
    """
    if spec.image == "png" and spec.png_level == 1:
        return _fast_png(image)
    picture = Image.fromarray(image)
    sink = io.BytesIO()
    match spec.image:
        case "png":
            picture.save(sink, "PNG", compress_level=spec.png_level)
        case "webp":
            # `exact`: without it WebP may change the colours of transparent pixels. Quality and
            # method are effort, not loss.
            picture.save(sink, "WEBP", lossless=True, quality=0, method=0, exact=True)
        case "jpeg":
            # No chroma subsampling: colour edges are where masks have their borders.
            picture.save(sink, "JPEG", quality=spec.jpeg_quality, subsampling=0)
    return sink.getvalue()


def encode_mask(mask: UInt8[np.ndarray, "h w"]) -> bytes:
    """Encode a mask as PNG mode L: pixel value = class id, 255 = ignore."""
    return _fast_png(mask)


def encode_instances(ids: UInt16[np.ndarray, "h w"]) -> bytes:
    """Encode instance ids as 16-bit grey PNG: 0 = none."""
    two_bytes = ids.astype(">u2")[..., None].view(np.uint8)
    return _fast_png(two_bytes, depth=16)


def _fast_png(pixels: UInt8[np.ndarray, "h w *_c"], *, depth: int = 8) -> bytes:
    """Encode PNG with one filter for all rows (up: difference to the pixel above) and run matching.

    Libraries try all five filters on every row, which takes longer than compressing. This takes
    less than half the time for a tenth more bytes; for masks it takes less time and fewer bytes. It
    matters because encoding, not Ray, limits a worker on small images.
    """
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    # Matches are runs of equal bytes only: filtered rows are mostly zeros, and no search is needed.
    body = deflate(filtered.data)
    colour_type = _COLOUR_GREY
    if pixels.ndim == 3 and depth == 8:
        colour_type = _COLOUR_RGBA if pixels.shape[2] == _RGBA_CHANNELS else _COLOUR_RGB
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def decode_image(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file to RGB; one with alpha is laid on white.

    Raises:
        ValueError: If `data` is not a complete image, or has grey values of more than 8 bits.
    """
    picture = _opened(data)
    if picture.mode.startswith(("I", "F")):  # Pillow would cut values above 255
        raise ValueError(f"found mode {picture.mode}; images have 8 bits per channel")
    if picture.mode in {"LA", "PA"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode == "RGBA":
        return flatten_on_white(np.asarray(picture))
    return np.asarray(picture.convert("RGB"))


def decode_rgba(data: bytes) -> UInt8[np.ndarray, "h w 4"] | None:
    """Decode an image file with alpha, which is not premultiplied; None for one without.

    Raises:
        ValueError: If `data` is not a complete image.
    """
    picture = _opened(data)
    return np.asarray(picture) if picture.mode == "RGBA" else None


def flatten_on_white(pixels: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """Lay an image with alpha on white, rounded to the nearest byte.

    In whole numbers, as `generate/numerics.py` does when it is made: both are equal.
    """
    wide = pixels.astype(np.int32)
    colours, alpha = wide[..., :3], wide[..., 3:]
    blended: np.ndarray = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)


def decode_mask(data: bytes, modes: tuple[str, ...] = ("L",)) -> UInt8[np.ndarray, "h w"]:
    """Decode a mask file to class ids. In mode P (files of other tools) the palette index is the id.

    Raises:
        ValueError: If `data` is not a complete PNG of one of `modes`.
    """
    picture = _opened(data)
    if picture.format != "PNG" or picture.mode not in modes:
        allowed = " or ".join(modes)
        raise ValueError(
            f"found {picture.format} mode {picture.mode}; masks are PNG mode {allowed}"
        )
    return np.asarray(picture)


def decode_painting(data: bytes) -> UInt8[np.ndarray, "h w *_c"]:
    """Decode a PNG that a person painted: grey values (mode L), or RGBA for palettes and colours.

    Raises:
        ValueError: If `data` is not a complete PNG of 8 bits.
    """
    picture = _opened(data)
    if picture.format == "PNG" and picture.mode == "L" and "transparency" not in picture.info:
        return np.asarray(picture)
    if picture.format != "PNG" or picture.mode not in ("L", "P", "RGB", "RGBA"):
        raise ValueError(
            f"found {picture.format} mode {picture.mode}; paint 8-bit PNG: grey, whose values are "
            "class ids, or palette or RGB, whose colours are those of classes"
        )
    return np.asarray(picture.convert("RGBA"))


def decode_instances(data: bytes) -> UInt16[np.ndarray, "h w"]:
    """Decode an instance file to instance ids.

    Raises:
        ValueError: If `data` is not a complete 16-bit grey PNG.
    """
    picture = _opened(data)
    if picture.format != "PNG" or picture.mode != "I;16":
        raise ValueError(
            f"found {picture.format} mode {picture.mode}; instances are 16-bit grey PNG"
        )
    return np.asarray(picture).astype(np.uint16)


def _opened(data: bytes) -> Image.Image:
    # A few hundred kB can unfold into gigabytes: the size in the header is looked at before that.
    try:
        _check_chunks(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        if max(picture.size) > MOST_SIDE_PX:
            width, height = picture.size
            raise ValueError(
                f"an image of {width} x {height} px; no side has more than {MOST_SIDE_PX}"
            )
        picture.load()
    except _BROKEN as error:
        raise ValueError(f"not a whole image ({_reason(error)})") from error
    _check_upright(picture)
    return picture


def _check_upright(picture: Image.Image) -> None:
    """Refuse a picture that viewers turn.

    Whether the mask beside it was drawn on what they show, or on what is stored, nothing says: of a
    square picture not even its size.

    Raises:
        ValueError: If its EXIF turns it.
    """
    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except (*_BROKEN, ValueError, TypeError, LookupError):  # viewers ignore EXIF that is damaged
        return
    if orientation in _TURNED:
        raise ValueError(
            f"it is stored turned (EXIF orientation {orientation}), and nothing says whether its mask "
            "is, too; store both upright, as viewers show the picture (`mogrify -auto-orient` turns it)"
        )


def _reason(error: Exception) -> str:
    """What is wrong with a file, for those errors whose text is about Python."""
    if isinstance(error, Image.DecompressionBombError):
        return f"far too many pixels; no side has more than {MOST_SIDE_PX}"
    if isinstance(error, UnidentifiedImageError):
        return "no PNG, WebP or JPEG"
    return "cut short" if isinstance(error, struct.error) else str(error)


def _check_chunks(data: bytes) -> None:
    """Verify the checksum of every PNG chunk; Pillow does not verify those of pixel data."""
    place = len(_SIGNATURE)
    while data.startswith(_SIGNATURE) and place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[place + 4 : end]):
            raise OSError(f"the chunk at byte {place} does not match its checksum")
        place = end + 4
