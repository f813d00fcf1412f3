"""How far images are from what is wanted of them: the losses and the scores of Linear Semantics.

Everything is per sample: a batch of searches is as many searches. Source: Xu and Zheng, "Linear
Semantics in Generative Adversarial Networks", CVPR 2021 (semantic-conditional sampling and semantic
image editing), and their released code. Where we differ: pixels of a layout with value 255 do not count.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE


@dataclass(frozen=True, slots=True)
class Pull:
    """What holds latents back."""

    stay: float = 1e-3
    """Weight of the squared distance from the latents that the search started from."""
    prior: float = 1e-3
    """Weight of the squared length of the latents, a mean over the rows of a sample: long latents are
    rare, and their images poor."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a loss."""

    fit: tuple[Float[Tensor, " n"], ...]
    """How badly the images fit: one term for a layout, two (outside and inside) for colours."""
    stay: Float[Tensor, " n"]
    """How far the latents have moved."""
    prior: Float[Tensor, " n"]
    """How long they are."""

    @property
    def total(self) -> Float[Tensor, " n"]:
        """Their sum, which is minimised."""
        return torch.stack([*self.fit, self.stay, self.prior]).sum(dim=0)


def layout_loss(
    scores: Float[Tensor, "n k h w"],
    layouts: Int64[Tensor, "n h w"],
    z: Float[Tensor, "n rows z"],
    start: Float[Tensor, "n rows z"],
    pull: Pull,
) -> Terms:
    """The mean cross entropy between scores of classes and layouts, and what holds latents back.

    Args:
        scores: Scores (logits) of the classes at the size of the layouts.
        layouts: Wanted classes; 255 does not count, and some other pixel must be there.
        z: The latents.
        start: The latents that the search started from.
        pull: Weights of what holds latents back.
    """
    by_px = functional.cross_entropy(scores, layouts, ignore_index=IGNORE, reduction="none")
    fit = by_px.sum(dim=(1, 2)) / (layouts != IGNORE).sum(dim=(1, 2))
    return _with_pull((fit,), z, start, pull)


def colour_loss(
    colours: Float[Tensor, "n c h w"],
    wanted: Float[Tensor, "n c h w"],
    is_painted: Float[Tensor, "n h w"],
    z: Float[Tensor, "n rows z"],
    start: Float[Tensor, "n rows z"],
    pull: Pull,
) -> Terms:
    """Squared differences of colours outside and inside of a painted region, and the pull.

    Channels are added and pixels are averaged, each region by itself, as in the authors' code; a region
    without pixels has no difference.
    """
    squares = (wanted - colours).square().sum(dim=1)
    outside, inside = (
        (squares * part).sum(dim=(1, 2)) / part.sum(dim=(1, 2)).clamp(min=1)
        for part in (1 - is_painted, is_painted)
    )
    return _with_pull((outside, inside), z, start, pull)


def _with_pull(
    fit: tuple[Float[Tensor, " n"], ...],
    z: Float[Tensor, "n rows z"],
    start: Float[Tensor, "n rows z"],
    pull: Pull,
) -> Terms:
    return Terms(
        fit,
        stay=pull.stay * (z - start).square().sum(dim=(1, 2)),
        prior=pull.prior * z.square().sum(dim=(1, 2)) / z.shape[1],
    )


def count_agreeing(
    masks: UInt8[Tensor, "n h w"] | Int64[Tensor, "n h w"], layouts: Int64[Tensor, "n h w"]
) -> Int64[Tensor, " n"]:
    """Pixels of each mask with the wanted class: the score by which candidates are chosen."""
    return ((masks == layouts) & (layouts != IGNORE)).sum(dim=(1, 2))


def mean_iou(
    masks: UInt8[Tensor, "n h w"] | Int64[Tensor, "n h w"],
    layouts: Int64[Tensor, "n h w"],
    num_classes: int,
) -> Float[Tensor, " n"]:
    """Mean IoU of each mask with its layout, over the classes that the layout has.

    Where the layout is 255, the mask does not count; a pixel of the mask with value 255 is wrong.
    """
    counts = layouts != IGNORE
    ids = torch.arange(num_classes, device=layouts.device)[:, None, None, None]
    wanted = layouts == ids
    found = (masks == ids) & counts
    both = (wanted & found).sum(dim=(2, 3)).double()
    either = (wanted | found).sum(dim=(2, 3))
    is_there = wanted.any(dim=3).any(dim=2)
    by_class = torch.where(is_there, both / either.clamp(min=1), 0)
    return (by_class.sum(dim=0) / is_there.sum(dim=0).clamp(min=1)).float()
