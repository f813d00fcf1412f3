"""What this machine's picture encoders write, as a digest: two that write other bytes differ in it."""

import hashlib
from functools import cache

import numpy as np

from factory.pack.image import encode_image, encode_instances, encode_mask
from factory.spec import EncodeSpec

_SIDE_PX = 96
_DIGITS = 16


@cache
def encoder_digest(spec: EncodeSpec) -> str:
    """Digest (16 hex digits) of a fixed picture, mask and instance map, encoded as `spec` says.

    Version numbers do not tell encoders apart: Pillow brings a zlib, libwebp and libjpeg of its own,
    distributions link it with others, and zlib-ng calls itself zlib. What they write does.
    """
    rows, columns = np.mgrid[:_SIDE_PX, :_SIDE_PX].astype(np.int64)
    # Smooth, flat and noisy parts, because encoders differ in how they search for matches. The noise
    # is a formula: no library's random numbers may change with its version.
    noise = (rows * _SIDE_PX + columns + 1) * 2_654_435_761 % 2**32 >> 13
    smooth = (rows * rows + 3 * columns) >> 3
    picture = np.stack([smooth, np.where(columns > rows, noise, 40), rows ^ columns], axis=-1)
    mask = (rows // 13 + columns // 17) % 5
    ids = (rows // 9 * 300 + columns // 21).astype(np.uint16)
    files = (
        encode_image((picture % 256).astype(np.uint8), spec),
        encode_mask(mask.astype(np.uint8)),
        encode_mask((noise % 256).astype(np.uint8)),
        encode_instances(ids),
    )
    return hashlib.sha256(b"".join(files)).hexdigest()[:_DIGITS]
