"""Statistics of the classes of a cut over many samples: shares, places, example images, mixtures.

Scores are kept on a coarse grid, so that any cut is measured anew within a second.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from factory.label.render import Renderer
from factory.segment.tree.mixture import PartFigures, measure_parts, top_two

NUM_SURVEYED = 160
"""Samples that figures are about, once all are drawn: the first of the dataset."""

_GRID = 32
_STEP = 5
_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What the surveyed samples say about a class."""

    share: float
    """Its share of all pixels."""
    images: float
    """Share of the samples in which it has a pixel."""
    place: Float32[Tensor, "g g"]
    """Share of the samples in which it holds each place, 0 to 1."""
    typical: list[int]
    """Samples in which its pixels are claimed most clearly."""
    doubtful: list[int]
    """Samples in which another class is nearly as good at them."""
    parts: list[PartFigures]
    """Its parts, node by node; empty for a class that is one leaf."""


class Survey:
    """The first samples of a dataset with the scores of all nodes on a coarse grid."""

    def __init__(self, renderer: Renderer, num_samples: int = NUM_SURVEYED) -> None:
        """Prepare a survey of so many samples; `fill` draws them."""
        self.num_samples, self.num_ready = num_samples, 0
        self._renderer, self._grid = renderer, min(_GRID, renderer.side)
        shape = (renderer.tree.num_nodes, num_samples, self._grid, self._grid)
        self._scores = torch.empty(shape)

    def fill(self, stop: threading.Event | None = None) -> None:
        """Draw the samples, one after another, until `stop` is set. Figures may be asked meanwhile."""
        while self.num_ready < self.num_samples and not (stop and stop.is_set()):
            _, scores = self._renderer.render(self.num_ready, self._grid, is_shifted=True)
            self._scores[:, self.num_ready] = scores
            self.num_ready += 1  # last: only whole samples are read

    def measure(self, classes: Sequence[Sequence[int]]) -> list[ClassFigures]:
        """Figures of classes, each given by its nodes, which together hold every leaf once.

        Of no samples, if none is drawn yet: all shares are 0.
        """
        scores = self._scores[:, : self.num_ready]
        winner, _, lead = top_two(scores[list(nodes)].amax(dim=0) for nodes in classes)
        # A map needs all places, and shares do not; the step fits into no row of the grid.
        parts = measure_parts(self._renderer.tree, classes, scores.flatten(1)[:, ::_STEP])
        return [_figures(winner == at, lead, some) for at, some in enumerate(parts)]


def _figures(is_class: Tensor, lead: Tensor, parts: list[PartFigures]) -> ClassFigures:
    count = len(is_class)
    if count == 0:
        return ClassFigures(0.0, 0.0, torch.zeros(is_class.shape[1:]), [], [], parts)
    areas = is_class.sum(dim=(1, 2))
    leads = (lead * is_class).sum(dim=(1, 2)) / areas.clamp(min=1)
    holding = areas.nonzero()[:, 0]
    # Slivers of a class are as clear or doubtful as chance wants: a picture shows at least half of
    # what is usual.
    usual = areas[holding].float().median() if len(holding) else torch.tensor(0.0)
    shown = [at for at in holding.tolist() if areas[at] >= usual / 2]
    shown.sort(key=lambda at: (-float(leads[at]), at))
    typical = shown[:_NUM_SHOWN]
    doubtful = [at for at in reversed(shown) if at not in typical][:_NUM_SHOWN]
    return ClassFigures(
        share=float(is_class.float().mean()),
        images=len(holding) / count,
        place=is_class.float().mean(dim=0),
        typical=typical,
        doubtful=doubtful,
        parts=parts,
    )
