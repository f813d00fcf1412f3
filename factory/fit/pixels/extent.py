"""Require that fitting pixels differ, by numbers: before anything is made of rounding, or of NaN."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.pixels.sampling import Sampling

Extent = tuple[Float32[Tensor, " c"], Float32[Tensor, " c"], Int64[Tensor, " c"]]
"""Of each channel: the least and the largest value, and how many values are no finite numbers."""

# Reading a map between its pixels rounds in the last three of 24 bits, and so does a network that adds
# up the same numbers in another order at its borders.
_ROUNDING = 2.0**-18


def constant_channels(extents: Sequence[Extent], sampling: Sampling) -> Bool[Tensor, " c"]:
    """Which channels are the same at all pixels, up to rounding. `extents` are those of all parts.

    Raises:
        JobError: If a value is no finite number, or no channel of any layer changes.
    """
    least = torch.stack([part[0].cpu() for part in extents]).amin(dim=0)
    largest = torch.stack([part[1].cpu() for part in extents]).amax(dim=0)
    bad = torch.stack([part[2].cpu() for part in extents]).sum(dim=0)
    _refuse_bad(bad, sampling)
    is_constant = largest - least <= _ROUNDING * torch.maximum(least.abs(), largest.abs())
    if bool(is_constant.all()):
        names = ", ".join(sampling.layers)
        raise JobError(
            f"dataset.segmenter.layers: {names}: the same at all {sampling.num_pixels} fitting pixels, "
            "so that there is nothing to tell apart; fit on other layers, or check the generator's "
            "weights with `factory inspect`"
        )
    return is_constant


def _refuse_bad(bad: Int64[Tensor, " c"], sampling: Sampling) -> None:
    if not int(bad.sum()):
        return
    blocks = torch.split(bad, list(sampling.widths))
    counts = zip(sampling.layers, sampling.widths, blocks, strict=True)
    found = [
        f"{name} ({int(count.sum())} of {sampling.num_pixels * width} values)"
        for name, width, count in counts
        if int(count.sum())
    ]
    raise JobError(
        f"dataset.segmenter.layers: {', '.join(found)}: NaN or infinite at the fitting pixels; fit on "
        "other layers, or check the generator's weights with `factory inspect`"
    )
