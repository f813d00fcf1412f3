"""Resampling along an axis as products with one small dense matrix, for devices with tensor cores.

A filter is a banded matrix. All blocks of its rows that begin at the same phase are equal, so one
block of `BLOCK` rows is multiplied with overlapping windows of the maps: six to seven times the
multiplications of the depthwise convolution, on units that have them to spare.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics

BLOCK = 32
"""Rows of the block: a multiple of every factor; more rows mean more zeros, fewer mean more overlap."""

_RANK_EPS = 1e-6


class BandedMatrix:
    """A linear map along an axis: block b of its outputs reads the window from `step` b on."""

    def __init__(self, block: Float[Tensor, "r k"], first: int, step: int) -> None:
        """Hold the matrix of a block; `first` is where the window of block 0 begins."""
        self.block, self.first, self.step = block, first, step

    def apply(self, maps: Float[Tensor, "n c h w"], axis: int, length: int) -> Tensor:
        """The first `length` outputs along `axis` (2 or 3). The result lies channels_last."""
        rows, width = self.block.shape
        num_blocks = -(-length // rows)
        needed = (num_blocks - 1) * self.step + width
        after = needed + self.first - maps.shape[axis]
        # A negative amount cuts: what no output reads, and what lies before the first window.
        pad = (-self.first, after)
        maps = functional.pad(maps, pad if axis == 3 else (0, 0, *pad))
        last = maps.permute(0, 2, 3, 1)
        dim = axis - 1
        windows = last.unfold(dim, width, self.step).movedim(-1, dim + 1)
        shape = windows.shape
        # [..., block, tap, all that lies behind]: one batched product for everything before `tap`.
        flat = windows.reshape(shape[: dim + 1].numel(), width, -1)
        made = torch.bmm(self.block.expand(len(flat), -1, -1), flat)
        lined = made.reshape(*shape[:dim], num_blocks * rows, *shape[dim + 2 :])
        return lined.narrow(dim, 0, length).permute(0, 3, 1, 2)


def upsampling_matrix(
    taps: Float[Tensor, " t"], factor: int, before: int, at: Numerics
) -> BandedMatrix:
    """Insert `factor` - 1 zeros after every sample, pad by `before`, filter; gain `factor`."""
    size = len(taps)
    start = size - 1 - before
    # Output m is the sum of x[k] taps[m + start - factor k].
    first = -((size - 1 - start) // factor)
    last = (BLOCK - 1 + start) // factor
    place = _place(BLOCK, last - first + 1, taps.device, row=1, column=-factor)
    return BandedMatrix(
        _banded(taps * factor, place + start - factor * first, at), first, BLOCK // factor
    )


def downsampling_matrix(taps: Float[Tensor, " t"], factor: int, at: Numerics) -> BandedMatrix:
    """Filter without padding, and keep every `factor`-th output."""
    size = len(taps)
    width = (BLOCK - 1) * factor + size
    place = _place(BLOCK, width, taps.device, row=factor, column=-1) + size - 1
    return BandedMatrix(_banded(taps, place, at), 0, BLOCK * factor)


def separable_terms(
    taps: Float[Tensor, "..."],
) -> list[tuple[Float[Tensor, " t"], Float[Tensor, " t"]]]:
    """Filters for rows and for columns whose outer products add up to `taps`.

    One pair for a 1-D filter, which is used on both axes; as many as its rank for a square one: 6
    at most for the radial filters of 12 taps, which are symmetric.
    """
    if taps.ndim == 1:
        return [(taps, taps)]
    left, weights, right = torch.linalg.svd(taps.cpu().double())
    kept = int((weights > _RANK_EPS * weights[0]).sum())
    roots = weights.sqrt()
    return [((left[:, i] * roots[i]).to(taps), (right[i] * roots[i]).to(taps)) for i in range(kept)]


def _place(rows: int, columns: int, device: torch.device, *, row: int, column: int) -> Tensor:
    down = torch.arange(rows, device=device)[:, None] * row
    return down + torch.arange(columns, device=device) * column


def _banded(taps: Tensor, place: Tensor, at: Numerics) -> Tensor:
    """The matrix whose entries are `taps` at `place`, and 0 where that is outside."""
    inside = (place >= 0) & (place < len(taps))
    padded = functional.pad(taps, (0, 1))
    return padded[torch.where(inside, place, len(taps))].to(at.device, at.dtype)
