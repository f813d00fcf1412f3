"""Move latents down the slope of a loss, with Adam."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Descent:
    """What came of some steps."""

    before: Float[Tensor, "n rows z"]
    """The latents before the last step: the last ones whose loss is known."""
    after: Float[Tensor, "n rows z"]
    """The latents after it."""
    losses: Float[Tensor, "steps n"]
    """The loss of each sample before each step."""


def descend(
    loss_of: Callable[[Float[Tensor, "n rows z"]], Float[Tensor, " n"]],
    start: Float[Tensor, "n rows z"],
    *,
    steps: int,
    learning_rate: float,
) -> Descent:
    """Take `steps` of Adam, each sample for itself; `start` is not changed.

    Adam moves every number by its own slope, so that one optimiser is the same as one for each sample
    and row, as the authors have them. The result of a sample depends on its neighbours in the batch by
    no more than rounding.

    Args:
        loss_of: The loss of each sample; called once for each step, and once for each step only.
        start: The first latents.
        steps: Number of steps, at least 1.
        learning_rate: Learning rate of Adam.
    """
    losses = []
    with torch.inference_mode(mode=False), torch.enable_grad():
        z = start.detach().clone().requires_grad_()
        before = z.detach().clone()
        # One tensor, so that the fused variants of Adam have nothing to gain.
        adam = torch.optim.Adam([z], lr=learning_rate, foreach=False, fused=False)
        for _ in range(steps):
            before = z.detach().clone()
            loss = loss_of(z)
            (z.grad,) = torch.autograd.grad(loss.sum(), [z])
            adam.step()
            losses.append(loss.detach())
    return Descent(before, z.detach(), torch.stack(losses))
