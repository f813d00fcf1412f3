"""Search for directions of a latent space by gradients: Adam, one step for each batch of new images.

Source: Melas-Kyriazi et al. 2022 (ICLR), and the released code: a direction is normalised after every
step, and the length of a shift is drawn for each entry of each latent. Where we differ: a direction
is normalised over all its entries, not over the rows of W+. All directions are searched side by side
on the same draws, as runs of the released code with one seed are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import Checkpoint
from factory.fit.direction.collapse import CollapseWatch
from factory.fit.direction.loss import DirectionLoss
from factory.fit.progress import Progress
from factory.segment.direction.curation import grey

FIGURES = ("centre", "edges", "contrast", "change", "share")
"""What is kept of each step: the two terms of the loss; the contrast of shifted images as a share of
that of the originals; the mean change in brightness; and the share of pixels that the direction changes
as it should."""

_LEAST_CONTRAST = 1e-3
_BETAS, _EPS = (0.9, 0.999), 1e-8


@dataclass(frozen=True, slots=True)
class Draw:
    """Some images of a step. The originals are means to an end and have no gradient."""

    original: Float[Tensor, "n 3 h w"]
    """Without a shift."""
    radius: Float[Tensor, "n *rows d"]
    """Length of the shift of each entry."""
    render: Callable[[Tensor], Tensor]
    """Images with a shift for each; can be differentiated."""


def draw_radius(
    noise: Float[Tensor, "n *rows d"], mean: float, spread: float, least: float
) -> Float[Tensor, "n *rows d"]:
    """Lengths of shifts, one for each entry, from standard normal `noise`."""
    return (mean + spread * noise).clamp(min=least)


@dataclass(slots=True)
class Direction:
    """One direction while it is searched for."""

    loss: DirectionLoss
    """What it is searched by."""
    entries: Float[Tensor, "*rows d"]
    """The parameter; its length is that of the first draw, and 1 after the first step."""
    learning_rate: float
    """Of Adam."""
    scale: float = 1.0
    """Factor of the loss while it is differentiated, a power of 2: float16 would lose its gradients."""
    _first: Tensor = field(init=False)
    _second: Tensor = field(init=False)
    _steps: int = 0

    def __post_init__(self) -> None:
        """Begin with empty moments."""
        self._first = torch.zeros_like(self.entries)
        self._second = torch.zeros_like(self.entries)

    @property
    def unit(self) -> Float[Tensor, "*rows d"]:
        """The direction with length 1."""
        unit: Tensor = self.entries / self.entries.norm()
        return unit

    def gradient(self, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """The gradient on the images of all `draws`, and the step's `FIGURES`."""
        total = torch.zeros_like(self.entries)
        figures = torch.zeros(len(FIGURES), dtype=torch.float64, device=self.entries.device)
        count = sum(len(draw.original) for draw in draws)
        for draw in draws:
            entries = self.entries.detach().requires_grad_()
            shifted = draw.render(draw.radius * (entries / entries.norm()))
            centre, edges = self.loss.terms(shifted, draw.original)
            (slope,) = torch.autograd.grad((centre + edges) * self.scale, entries)
            share = len(draw.original) / count
            total += slope * (share / self.scale)
            figures += self._figures(draw.original, shifted.detach(), centre, edges) * share
        return total, figures

    def step(self, gradient: Tensor) -> None:
        """Move the direction by one step of Adam, and normalise it."""
        self._steps += 1
        self._first.lerp_(gradient, 1 - _BETAS[0])
        self._second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        size = self.learning_rate / (1 - _BETAS[0] ** self._steps)
        spread = (self._second / (1 - _BETAS[1] ** self._steps)).sqrt() + _EPS
        moved = self.entries - size * self._first / spread
        self.entries = moved / moved.norm()

    def state(self) -> dict[str, Tensor]:
        """Everything that decides how the search goes on."""
        return {
            "entries": self.entries,
            "first": self._first,
            "second": self._second,
            "steps": torch.tensor(self._steps),
        }

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: If it is the state of another search.
        """
        device, shape = self.entries.device, self.entries.shape
        if any(kept[name].shape != shape for name in ("entries", "first", "second")):
            raise ValueError("the state of a search in another latent space")
        self.entries = kept["entries"].to(device)
        self._first, self._second = kept["first"].to(device), kept["second"].to(device)
        self._steps = int(kept["steps"])

    def _figures(
        self, original: Tensor, shifted: Tensor, centre: Tensor, edges: Tensor
    ) -> Float[Tensor, " f"]:
        before, after = grey(original), grey(shifted)
        change = after - before
        contrast = after.std(dim=(1, 2)) / before.std(dim=(1, 2)).clamp(min=_LEAST_CONTRAST)
        right = change > 0 if self.loss.centre > 0 else change < 0
        values = (centre.detach(), edges.detach(), contrast.mean(), change.abs().mean())
        return torch.stack([*(one.double() for one in values), right.double().mean()])


class Search:
    """One search for some directions. It can be stopped, and goes on from its checkpoint."""

    def __init__(self, directions: dict[str, Direction], num_steps: int) -> None:
        """Search for `directions` by sign, from their first entries."""
        self.directions = directions
        self.curves = {sign: torch.zeros(num_steps, len(FIGURES)) for sign in directions}
        """`FIGURES` of each step by sign; zeros for those to come."""
        self._watches = {sign: CollapseWatch(sign, num_steps) for sign in directions}
        self._num_steps, self.done = num_steps, 0

    def run(
        self,
        draws_of: Callable[[int], Iterator[Draw]],
        checkpoint: Checkpoint,
        progress: Progress,
    ) -> None:
        """Search to the end. `draws_of` gives the images of a step, in parts that fit the memory.

        Raises:
            JobError: If it collapses.
            Interrupted: If a stop was requested.
        """
        self._restore(checkpoint.load())
        progress.begin("searching", self._num_steps, self.done)
        while self.done < self._num_steps:
            draws = list(draws_of(self.done))
            for sign, direction in self.directions.items():
                gradient, figures = direction.gradient(draws)
                direction.step(gradient)
                self.curves[sign][self.done] = figures.cpu()
                if not torch.isfinite(direction.entries).all():
                    raise JobError(
                        f"dataset.segmenter: the {sign} direction is no number after step "
                        f"{self.done + 1}; lower learning_rate or radius, or use "
                        "generator.precision: float32"
                    )
            self.done += 1
            # Before it is saved: what collapsed in the last step must not be a result next time.
            for sign, watch in self._watches.items():
                watch.check(self.curves[sign][: self.done])
            checkpoint.save(self._kept())
            progress.reach(self.done)

    def _kept(self) -> dict[str, Tensor]:
        kept = {"done": torch.tensor(self.done)}
        for sign, direction in self.directions.items():
            kept |= {f"{sign}/{name}": tensor for name, tensor in direction.state().items()}
            kept[f"{sign}/curve"] = self.curves[sign]
        return kept

    def _restore(self, kept: dict[str, Tensor]) -> None:
        """Take over a checkpoint; one of something else is as good as none."""
        if not kept:
            return
        first = {sign: one.state() for sign, one in self.directions.items()}
        try:
            curves = {sign: kept[f"{sign}/curve"] for sign in self.directions}
            for sign, direction in self.directions.items():
                direction.restore({name: kept[f"{sign}/{name}"] for name in first[sign]})
            done = int(kept["done"])
            if any(curves[sign].shape != self.curves[sign].shape for sign in curves):
                raise ValueError("the curve of another search")
        except (KeyError, ValueError):
            for sign, direction in self.directions.items():
                direction.restore(first[sign])
            return
        self.curves, self.done = curves, done
