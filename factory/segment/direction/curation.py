"""Curation of masks made by a direction: which are kept, decided for a whole batch on its device.

Source: Melas-Kyriazi et al. 2022, "Finding an unsupervised image segmenter in each of your deep
generative models", ICLR, and the released code.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.segment.direction.components import largest_part, perimeters

_GREY = (0.2989, 0.5870, 0.1140)
ROUND_AREA = (0.05, 0.90)
"""Shares of the image between which the roundness of a mask's largest part says anything."""


def grey(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
    """Brightness of colours, in the range that they are in."""
    red, green, blue = images.unbind(dim=1)
    return _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue


def area_share(masks: Bool[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Share of each image that its mask covers, float64."""
    return masks.double().mean(dim=(1, 2))


def has_area(masks: Bool[Tensor, "n h w"], least: float, most: float) -> Bool[Tensor, " n"]:
    """Whether each mask covers a share between `least` and `most`, both included."""
    shares = area_share(masks)
    return (shares >= least) & (shares <= most)


def count_bins(
    images: Float[Tensor, "n c h w"],
    bins: int = 12,
    span: tuple[float, float] = (-1.0, 1.0),
) -> Int64[Tensor, "n b"]:
    """Histogram of each image over the values of all its channels; those outside of `span` are dropped.

    A value on the border of two bins is in the upper one; the end of `span` is in the last.
    """
    low, high = span
    values = images.flatten(1).float()
    position = ((values - low) * (bins / (high - low))).floor().clamp(0, bins - 1).long()
    position = torch.where((values >= low) & (values <= high), position, bins)
    offsets = torch.arange(len(images), device=images.device)[:, None] * (bins + 1)
    counts = torch.bincount((position + offsets).flatten(), minlength=len(images) * (bins + 1))
    return counts.view(len(images), bins + 1)[:, :bins]


def smooth_bins(counts: Int64[Tensor, "n b"], window: int = 3) -> Float[Tensor, "n b"]:
    """The sum of the `window` bins around each bin; there are none beyond the ends."""
    kernel = torch.ones(1, 1, window, dtype=torch.float64, device=counts.device)
    return functional.conv1d(counts.double()[:, None], kernel, padding="same")[:, 0].float()


def count_maxima(smoothed: Float[Tensor, "n b"]) -> Int64[Tensor, " n"]:
    """Bins that are at least as high as both neighbours, as the authors count: each bin of a plateau."""
    wide = functional.pad(smoothed, (1, 1), value=-torch.inf)
    return ((wide[:, 1:-1] >= wide[:, :-2]) & (wide[:, 1:-1] >= wide[:, 2:])).sum(dim=1)


def count_modes(smoothed: Float[Tensor, "n b"]) -> Int64[Tensor, " n"]:
    """Hills of each histogram: a plateau is one, and a constant image has one."""
    rising = torch.ones(len(smoothed), dtype=torch.bool, device=smoothed.device)
    found = torch.zeros(len(smoothed), dtype=torch.int64, device=smoothed.device)
    falls_at_end = functional.pad(smoothed, (0, 1), value=-1.0)
    for step in falls_at_end.diff(dim=1).unbind(dim=1):
        found += rising & (step < 0)
        rising = (step > 0) | (rising & (step == 0))
    return found


def has_two_modes(
    images: Float[Tensor, "n c h w"], *, plateaus: bool = False, least: int = 2
) -> Bool[Tensor, " n"]:
    """Whether each image has a light and a dark mode; with `plateaus` as the authors count them."""
    smoothed = smooth_bins(count_bins(images))
    return (count_maxima(smoothed) if plateaus else count_modes(smoothed)) >= least


def is_round(
    masks: Bool[Tensor, "n h w"], least: float, area: tuple[float, float] = ROUND_AREA
) -> Bool[Tensor, " n"]:
    """Whether the largest part of each mask has an area of at least `least` times its outline squared.

    One whose share of the image is not between those of `area` is not round; a disc has 1 / (4 pi).
    """
    part = largest_part(masks)
    ratio = part.sum(dim=(1, 2)).double() / perimeters(part).square().clamp(min=1e-12)
    return has_area(part, *area) & (ratio > least)


def overlap(first: Bool[Tensor, "n h w"], second: Bool[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Share of the pixels at which two masks of an image agree, float64."""
    return (first == second).double().mean(dim=(1, 2))
