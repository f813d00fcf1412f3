"""The whole numbers that a sample's statistics are made of, counted on the device that made it.

`manifest/measure.py` counts the same of samples on the host, for readers and for workers without a GPU,
where whoever encodes has the time. Here a GPU does it for a batch. Sums of integers do not depend on
their order: both give the same numbers.
"""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from factory.data import PixelCounts
from factory.manifest.measure import HASH_COLUMNS, HASH_ROWS, LUMA, laplacian_rows

_HASH_BITS = 64


def count_on_device(
    images: UInt8[Tensor, "n h w 3"], masks: UInt8[Tensor, "n h w"]
) -> Int64[Tensor, "n 4"]:
    """The fields of `PixelCounts` of each sample, still on the device; the hash as a signed number."""
    red, green, blue = LUMA
    wide = images.int()
    gray = (wide[..., 0] * red + wide[..., 1] * green + wide[..., 2] * blue) >> 8
    return torch.stack([_hash(gray), *_laplacian(gray), _border_pairs(masks)], dim=1)


def to_pixel_counts(counts: Int64[np.ndarray, "n 4"]) -> list[PixelCounts]:
    """The counts of each sample, once they are on the host."""
    return [PixelCounts(bits % 2**_HASH_BITS, *rest) for bits, *rest in np.asarray(counts).tolist()]


def _hash(gray: Tensor) -> Int64[Tensor, " n"]:
    count, height, width = gray.shape
    if height < HASH_ROWS or width < HASH_COLUMNS:
        return torch.zeros(count, dtype=torch.int64, device=gray.device)
    rows = _box_sums(gray.long(), HASH_ROWS, dim=1)
    sums = _box_sums(rows, HASH_COLUMNS, dim=2)
    widths = _edges(width, HASH_COLUMNS, gray.device).diff()
    brighter = sums[:, :, 1:] * widths[:-1] > sums[:, :, :-1] * widths[1:]
    # The last weight is negative: the bits of a signed number are the same.
    weights = torch.ones(_HASH_BITS, dtype=torch.int64, device=gray.device)
    weights = weights << torch.arange(_HASH_BITS, device=gray.device)
    return (brighter.flatten(1) * weights).sum(dim=1)


def _box_sums(values: Tensor, num_boxes: int, dim: int) -> Tensor:
    """Sums over `num_boxes` runs of neighbours along `dim`, as equal in length as they can be."""
    ends = _edges(values.shape[dim], num_boxes, values.device)[1:] - 1
    upto = values.cumsum(dim).index_select(dim, ends)
    first = upto.narrow(dim, 0, 1)
    return torch.cat([first, upto.diff(dim=dim)], dim=dim)


def _edges(length: int, num_boxes: int, device: torch.device) -> Int64[Tensor, " b"]:
    return torch.arange(num_boxes + 1, device=device) * length // num_boxes


def _laplacian(gray: Tensor) -> tuple[Tensor, Tensor]:
    _, height, width = gray.shape
    # Made on the host and copied: a device's own division need not round as numpy's does.
    rows = torch.from_numpy(laplacian_rows(height, width)).to(gray.device)
    middle = gray[:, rows]
    found = middle[:, :, :-2] + middle[:, :, 2:] - 4 * middle[:, :, 1:-1]
    found = found + gray[:, rows - 1, 1:-1] + gray[:, rows + 1, 1:-1]
    flat = found.flatten(1).long()
    return flat.sum(dim=1), flat.square().sum(dim=1)


def _border_pairs(masks: Tensor) -> Tensor:
    below = (masks[:, 1:] != masks[:, :-1]).flatten(1).sum(dim=1)
    return below + (masks[:, :, 1:] != masks[:, :, :-1]).flatten(1).sum(dim=1)
