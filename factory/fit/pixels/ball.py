"""Clip feature vectors to a ball around most of the fitting pixels, against heavy tails.

Features of many generators are heavy-tailed: on a DCGAN, one pixel in a thousand lies seven times as
far from the mean as the median pixel. K-means, which squares distances, spends a third of its
clusters on such pixels, and a cluster that is far and tiny is always perfectly separable. It is the
distance that does the damage, and not the direction, so that a far pixel is moved, and not dropped.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

# So that the radius is one of the bulk and not of the tail: on DCGANs the farthest hundredth lies
# three to eleven times as far as the median. A quarter of the pixels on the surface still differ by
# their direction, which in tens of channels is nearly all that distinguishes parts.
_INSIDE = 0.75


@dataclass(frozen=True, slots=True)
class Ball:
    """A ball that holds three quarters of the fitting pixels."""

    centre: Float32[Tensor, " c"]
    """Mean of the pixels."""
    radius: float
    """Distance from it that three quarters of the pixels keep; infinite if it would be 0."""

    def clip(self, rows: Float32[Tensor, "p c"]) -> Float32[Tensor, "p c"]:
        """Move vectors outside the ball to its surface, along their ray from the centre; a copy."""
        away = rows - self.centre
        lengths = away.square().sum(dim=1, keepdim=True).sqrt_()
        return away.mul_((self.radius / lengths).clamp_(max=1)).add_(self.centre)

    def to(self, device: torch.device) -> "Ball":
        """The same ball, on a device."""
        return Ball(self.centre.to(device), self.radius)

    def tensor(self) -> Float32[Tensor, " c1"]:
        """The ball for a checkpoint: the centre, then the radius."""
        return torch.cat([self.centre.cpu(), torch.tensor([self.radius])])

    @classmethod
    def of_tensor(cls, kept: Float32[Tensor, " c1"]) -> "Ball":
        """The ball that `tensor` was made of, bit by bit."""
        return cls(kept[:-1], float(kept[-1]))


def find_ball(sample: Float32[Tensor, "p c"]) -> Ball:
    """The ball around some of the fitting pixels, as a sample of all."""
    # The mean and not a median: it is one sum, and the far pixels of many images lie on all sides.
    centre = sample.mean(dim=0, dtype=torch.float64).float()
    lengths = (sample - centre).square_().sum(dim=1).sqrt_()
    radius = float(lengths.quantile(_INSIDE))
    # More than three quarters of the pixels are equal: there is no tail.
    return Ball(centre, radius if radius > 0 else float("inf"))
