"""Fit a separating plane for each cluster of pixels (one-vs-rest squared hinge loss).

The objective of KLiSH: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic knowledge from GANs with
unsupervised learning", https://arxiv.org/abs/2211.16710. Nothing here knows what is merged.

A plane is a row of channel weights with the bias last; a pixel's score is its side of the plane.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from factory.fit.pixels.pool import PixelPool, added

PENALTY = 5000.0
"""Weight C of the hinge against the size of the weights, as published."""

LEAST_GAIN = 1e-4
"""Share of its loss that a round must gain, or the search has ended."""

MOST_BYTES = 2**26
"""Memory for the second derivatives that all parts answer with at once."""

_MOST_ROUNDS = 50
_MOST_HALVINGS = 12
_ARMIJO = 1e-4
# Ridge relative to the trace, the size of float32's rounding of the sums: without it a second
# derivative that is singular up to rounding (few active pixels, dependent channels) cannot be
# solved.
_LEAST_CURVATURE = 1e-7


@dataclass(frozen=True, slots=True)
class LossAt:
    """Losses and gradients at some planes."""

    losses: Float64[Tensor, " k"]
    slopes: Float64[Tensor, "k c1"]

    def chosen(self, places: Bool[Tensor, " k"]) -> "LossAt":
        """Select some of the planes; a copy."""
        return LossAt(self.losses[places], self.slopes[places])

    def put(self, places: Int64[Tensor, " m"], there: "LossAt") -> None:
        """Replace the values of some planes."""
        self.losses[places], self.slopes[places] = there.losses, there.slopes


class HingeLoss:
    """Loss of planes: |w|^2 / 2 + C / p * sum(max(0, 1 - y s)^2), each plane by itself.

    y is 1 for pixels of the plane's cluster and -1 for all others. The published loss is the mean
    over planes; no plane's loss depends on another's.
    """

    def __init__(self, pool: PixelPool, num_pixels: int, stride: int = 1) -> None:
        """Of every `stride`-th of the pixels in `pool`."""
        self._pool, self._scale, self._stride = pool, PENALTY * stride / num_pixels, stride

    def __call__(self, columns: Int64[Tensor, " k"], planes: Float32[Tensor, "k c1"]) -> LossAt:
        """Losses and gradients."""
        losses, slopes = added(self._pool.query("hinge", columns, planes, self._stride))
        weights = planes[:, :-1].double()
        losses = losses * self._scale + weights.square().sum(dim=1) / 2
        slopes *= 2 * self._scale
        slopes[:, :-1] += weights
        return LossAt(losses, slopes)

    def curves(
        self, columns: Int64[Tensor, " k"], planes: Float32[Tensor, "k c1"]
    ) -> Float64[Tensor, "k c1 c1"]:
        """Second derivatives (see `Part.curve`)."""
        (curves,) = added(self._pool.query("curve", columns, planes, self._stride))
        curves *= 2 * self._scale
        diagonal = curves.diagonal(dim1=1, dim2=2)
        diagonal += _LEAST_CURVATURE * diagonal.sum(dim=1, keepdim=True)
        diagonal[:, :-1] += 1  # of |w|^2 / 2; the bias is not penalised
        diagonal[:, -1] += _LEAST_CURVATURE
        return curves


def separate(
    loss: HingeLoss,
    columns: Int64[Tensor, " k"],
    start: Float32[Tensor, "k c1"],
    on_found: Callable[[int], None],
    least_gain: float = LEAST_GAIN,
) -> tuple[Float32[Tensor, "k c1"], Int64[Tensor, " k"]]:
    """Find the planes of least loss for some clusters; returns planes and numbers of rounds.

    The finite Newton method (Keerthi and DeCoste 2005, "A modified finite Newton method for fast
    solution of large scale linear SVMs") from `start`, each plane by itself, until a round gains
    less than `least_gain` of its loss; what is left to gain is then less than that, too. Where we
    differ: the second derivatives come from some of the active pixels (see `Part.curve`), and steps are
    halved until the loss falls. The release of KLiSH takes up to 100 steps of L-BFGS, all planes as
    a single point, without looking whether the loss falls.

    `on_found` is a callback for the number of planes found so far.
    """
    planes = start.clone()
    rounds = torch.zeros(len(columns), dtype=torch.int64)
    pending = torch.arange(len(columns))
    here = loss(columns, planes)
    while len(pending) and int(rounds.max()) < _MOST_ROUNDS:
        rounds[pending] += 1
        places = pending.to(start.device)
        moved, after = _descend(loss, columns[places], planes[places], here)
        planes[places] = moved
        is_open = here.losses - after.losses > least_gain * here.losses
        here, pending = after.chosen(is_open), pending[is_open.cpu()]
        on_found(len(columns) - len(pending))
    return planes, rounds


def num_at_once(num_channels: int) -> int:
    """Number of planes to search concurrently within `MOST_BYTES`."""
    return max(1, MOST_BYTES // (16 * 4 * (num_channels + 1) ** 2))


def _descend(
    loss: HingeLoss, columns: Tensor, planes: Tensor, here: LossAt
) -> tuple[Tensor, LossAt]:
    """One Newton step with backtracking; planes for which no step reduces the loss are unchanged."""
    # Second derivatives once per round, losses for every halving: the former cost most.
    way = -torch.linalg.solve(loss.curves(columns, planes), here.slopes)
    slope = (way * here.slopes).sum(dim=1)
    moved, after = planes.clone(), here.chosen(torch.ones_like(slope, dtype=torch.bool))
    pending = torch.arange(len(planes), device=planes.device)
    for halvings in range(_MOST_HALVINGS):
        step = 0.5**halvings
        tried = (planes[pending] + step * way[pending]).float()
        there = loss(columns[pending], tried)
        is_better = there.losses <= here.losses[pending] + _ARMIJO * step * slope[pending]
        better = pending[is_better]
        moved[better] = tried[is_better]
        after.put(better, there.chosen(is_better))
        pending = pending[~is_better]
        if not len(pending):
            break
    return moved, after
