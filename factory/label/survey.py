"""Statistics of the classes of a cut over many samples: shares, places, example images, mixtures.

Scores are kept on a coarse grid, so that any cut is measured anew within a second.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int16
from torch import Tensor

from factory.label.render import Renderer
from factory.segment.tree.hierarchy import Hierarchy

NUM_SURVEYED = 160
"""Samples that figures are about, once all are drawn: the first of the dataset."""

_GRID = 32
_STEP = 5
_NUM_SHOWN = 3
_FEWEST_PIXELS = 50
"""Of fewer pixels on the grid, where they would go says nothing."""

_MOST = 0.5


@dataclass(frozen=True, slots=True)
class PartFigures:
    """A part of a class: a child of one of its nodes, or a node that is a leaf."""

    node: int
    """The child, or the leaf."""
    under: int
    """The node of the class that holds it."""
    share: float
    """Its share of the class's pixels."""
    own: float
    """Share of its pixels that would stay in the class if this part had no plane of its own."""
    other: int
    """The other class that would get most of the rest."""
    to_other: float
    """Share of its pixels that would go there."""
    is_foreign: bool
    """Whether most would go there: then the class mixes several things that its parts separate."""


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
        winner, _, lead = _top_two(scores[list(nodes)].amax(dim=0) for nodes in classes)
        parts = [_fine_parts(self._renderer.tree, nodes) for nodes in classes]
        owner = torch.tensor([at for at, some in enumerate(parts) for _ in some])
        # A map needs all places, and shares do not; the step fits into no row of the grid.
        some_px = scores.flatten(1)[:, ::_STEP]
        best, second, _ = _top_two(some_px[node] for some in parts for node, _ in some)
        pairs = torch.bincount(best.long() * len(owner) + second, minlength=len(owner) ** 2)
        pairs = pairs.view(len(owner), len(owner))
        going = torch.zeros(len(owner), len(classes)).index_add_(1, owner, pairs.float())
        found, first = [], 0
        for at, some in enumerate(parts):
            rows = going[first : first + len(some)]
            first += len(some)
            found.append(_figures(winner == at, lead, _parts(some, rows, at)))
        return found


def parts_of(tree: Hierarchy, nodes: Sequence[int]) -> list[int]:
    """What a class of these nodes falls into first: the nodes, or the children of the only one.

    The larger child comes first, as on the page.
    """
    pair = tree.children(nodes[0]) if len(nodes) == 1 else None
    if pair is None:
        return list(nodes)
    return sorted(pair, key=lambda node: -int(tree.sizes[node]))


def _fine_parts(tree: Hierarchy, nodes: Sequence[int]) -> list[tuple[int, int]]:
    """The children of all nodes of a class, or the node if it is a leaf, each with that node."""
    return [(part, node) for node in nodes for part in tree.children(node) or (node,)]


def _top_two(
    scores: Iterable[Float32[Tensor, "*px"]],
) -> tuple[Int16[Tensor, "*px"], Int16[Tensor, "*px"], Float32[Tensor, "*px"]]:
    """At each pixel the number of the highest score, that of the next, and the lead between them.

    Of equal scores the first counts, as in masks.
    """
    rows = iter(scores)
    best = next(rows).clone()
    second = torch.full_like(best, -torch.inf)
    winner = torch.zeros(best.shape, dtype=torch.int16)
    runner_up = torch.zeros_like(winner)
    for number, row in enumerate(rows, start=1):
        wins = row > best
        runner_up.masked_fill_(row > second, number)  # also where it wins, until the next line
        torch.where(wins, winner, runner_up, out=runner_up)
        second = torch.maximum(second, torch.minimum(row, best))
        winner.masked_fill_(wins, number)
        torch.maximum(best, row, out=best)
    return winner, runner_up, best - second


def _parts(
    nodes: list[tuple[int, int]], going: Float32[Tensor, "parts classes"], at: int
) -> list[PartFigures]:
    """The parts of class `at`, each with where its pixels would go: counts by class."""
    if len(nodes) < 2:
        return []
    pixels = going.sum(dim=1)
    shares = going / pixels.clamp(min=1)[:, None]
    found = []
    for row, (node, under) in enumerate(nodes):
        rest = shares[row].clone()
        rest[at] = -1
        other = int(rest.argmax())
        to_other = max(float(rest[other]), 0.0)
        found.append(
            PartFigures(
                node=node,
                under=under,
                share=float(pixels[row] / pixels.sum().clamp(min=1)),
                own=float(shares[row, at]),
                other=other,
                to_other=to_other,
                is_foreign=int(pixels[row]) >= _FEWEST_PIXELS and to_other > _MOST,
            )
        )
    return found


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
