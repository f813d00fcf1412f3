"""The losses of Labels4Free, and the running average of its weights.

Source: Abdal, Zhu, Mitra and Wonka, "Labels4Free", ICCV 2021, section 3.3, and the authors' code. Where
we differ: the critic's penalty on real pictures (R1) stands alone, where their code adds the critic's
score of one real picture to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.train_generator.losses import generator_loss

R1_GAMMA, R1_EVERY = 10.0, 16
"""Weight of the critic's penalty, and the steps between two of them."""

HALF_LIFE_STEPS = 10_000 / 32
"""Half-life of the average of the weights, in steps, as in the authors' code."""

_WARM_UP = 0.05


def composite(
    foreground: Float[Tensor, "n c h w"],
    background: Float[Tensor, "n c h w"],
    alpha: Float[Tensor, "n h w"],
) -> Float[Tensor, "n c h w"]:
    """The foreground where `alpha` is 1, the background where it is 0."""
    share = alpha[:, None]
    return foreground * share + (1 - share) * background


def binarisation(alpha: Float[Tensor, "n h w"]) -> Float[Tensor, ""]:
    """Mean distance of each pixel from 0 or 1, whichever is nearer."""
    return torch.minimum(alpha, 1 - alpha).mean()


def missing_foreground(alpha: Float[Tensor, "n h w"], least: float) -> Float[Tensor, ""]:
    """How much of the share `least` the foreground lacks, mean over images."""
    return functional.relu(least - alpha.mean(dim=(1, 2))).mean()


def missing_background(alpha: Float[Tensor, "n h w"], least: float) -> Float[Tensor, ""]:
    """How much of the share `least` the background lacks, mean over images."""
    return functional.relu(least - (1 - alpha.mean(dim=(1, 2)))).mean()


@dataclass(frozen=True, slots=True)
class AlphaLoss:
    """What an alpha network is trained for: composites that look real, of masks that decide."""

    adversarial_weight: float
    """Weight of the critic's opinion of composites."""
    mask_weight: float
    """Weight of pixels being decided, and of the foreground's least share."""
    background_weight: float
    """Weight of the background's least share."""
    least_background: float
    """Share of an image that is background, at least."""
    least_foreground: float = 0.25
    """Share of an image that is foreground, at least."""

    def __call__(
        self, alpha: Float[Tensor, "n h w"], logits: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The loss of masks, given the critic's logits of their composites."""
        decided = binarisation(alpha) + missing_foreground(alpha, self.least_foreground)
        return (
            self.adversarial_weight * generator_loss(logits)
            + self.mask_weight * decided
            + self.background_weight * missing_background(alpha, self.least_background)
        )


def decay_of(steps_taken: int) -> float:
    """Decay of the average after so many steps.

    The half-life is that of the authors, but at most a twentieth of the training so far: schedules are
    so short that the weights before the first step would keep a third of the say.
    """
    return float(0.5 ** (1 / min(HALF_LIFE_STEPS, max(_WARM_UP * steps_taken, 1e-3))))


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], live: Mapping[str, Tensor], decay: float) -> None:
    """Move `average` towards `live`, in place: `decay` of it stays."""
    for name, tensor in average.items():
        tensor.mul_(decay).add_(live[name].detach(), alpha=1 - decay)
