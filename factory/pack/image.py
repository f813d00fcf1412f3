"""Arrays to image files and back. Masks are PNG mode L: palette PNGs lose their ids in every reader."""

import io
import zlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from factory.spec import EncodeSpec

IMAGE_ENDING = {"png": "png", "webp": "webp", "jpeg": "jpg"}
"""File name ending of each image format."""

_MASK_LEVEL = 1


def encode_image(image: UInt8[np.ndarray, "h w 3"], spec: EncodeSpec) -> bytes:
    """An RGB image (0 to 255) as PNG, lossless WebP or JPEG. Pillow releases the GIL meanwhile."""
    picture = Image.fromarray(image)
    sink = io.BytesIO()
    match spec.image:
        case "png":
            _save_png(picture, sink, spec.png_level)
        case "webp":
            picture.save(sink, "WEBP", lossless=True, quality=0, method=0, exact=True)
        case "jpeg":
            picture.save(sink, "JPEG", quality=spec.jpeg_quality, subsampling=0)
    return sink.getvalue()


def encode_mask(mask: UInt8[np.ndarray, "h w"]) -> bytes:
    """A mask as PNG mode L: the value of a pixel is its class id, 255 = ignore."""
    sink = io.BytesIO()
    _save_png(Image.fromarray(mask), sink, _MASK_LEVEL)
    return sink.getvalue()


def _save_png(picture: Image.Image, sink: io.BytesIO, level: int) -> None:
    """At level 1 only runs are matched: on filtered rows and on masks smaller *and* faster."""
    strategy = zlib.Z_RLE if level == 1 else zlib.Z_DEFAULT_STRATEGY
    picture.save(sink, "PNG", compress_level=level, compress_type=strategy)


def decode_image(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of an image file.

    Raises:
        ValueError: If `data` is not a whole image.
    """
    return np.asarray(_opened(data).convert("RGB"))


def decode_mask(data: bytes) -> UInt8[np.ndarray, "h w"]:
    """The class ids of a mask file.

    Raises:
        ValueError: If `data` is not a whole PNG of mode L.
    """
    picture = _opened(data)
    if picture.format != "PNG" or picture.mode != "L":
        raise ValueError(f"found {picture.format} mode {picture.mode}; masks are PNG mode L")
    return np.asarray(picture)


def _opened(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"not a whole image ({error})") from error
    return picture
