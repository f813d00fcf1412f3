"""What a class of a cut falls into, and which parts of it another class would claim.

Planes of a cut are compared with each other alone. If a part of a class (a child of one of its nodes)
had no plane of its own, its pixels would go to whichever other part scores best at them: mostly its
sibling, if the class is one thing; mostly another class, if it holds several that its parts separate.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int16, UInt8
from torch import Tensor

from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.suggest import shares_of

_FEWEST_PIXELS = 50
"""Of fewer pixels, where they would go says nothing."""

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

    def describe(self, other: str) -> str:
        """What is to be said of a foreign part, with advice; `other` is the name of that class."""
        what = f"node {self.node}"
        if self.node != self.under:
            what = f"{self.node}, a part of node {self.under},"
        return (
            f"mixes: {what} has {self.share:.0%} of its pixels and is nearer to {other}, where "
            f"{self.to_other:.0%} of them would go if it were not split off: see its pictures on the "
            "page of `factory label`, and split it off if it is something else"
        )


def parts_of(tree: Hierarchy, nodes: Sequence[int]) -> list[int]:
    """What a class of these nodes falls into first: the nodes, or the children of the only one.

    The larger child comes first, as on the page.
    """
    pair = tree.children(nodes[0]) if len(nodes) == 1 else None
    if pair is None:
        return list(nodes)
    return sorted(pair, key=lambda node: -int(tree.sizes[node]))


def fine_parts(tree: Hierarchy, nodes: Sequence[int]) -> list[tuple[int, int]]:
    """The children of all nodes of a class, or the node if it is a leaf, each with that node."""
    return [(part, node) for node in nodes for part in tree.children(node) or (node,)]


def measure_parts(
    tree: Hierarchy, classes: Sequence[Sequence[int]], scores: Float32[Tensor, "nodes px"]
) -> list[list[PartFigures]]:
    """The parts of each class, node by node; none for a class that is one leaf.

    Args:
        tree: The merge tree.
        classes: Each given by its nodes, which together hold every leaf once.
        scores: Of all nodes at some pixels; only their order at each pixel counts.
    """
    parts = [fine_parts(tree, nodes) for nodes in classes]
    owner = torch.tensor([at for at, some in enumerate(parts) for _ in some])
    best, second, _ = top_two(scores[node] for some in parts for node, _ in some)
    pairs = torch.bincount(best.long() * len(owner) + second, minlength=len(owner) ** 2)
    pairs = pairs.view(len(owner), len(owner))
    going = torch.zeros(len(owner), len(classes)).index_add_(1, owner, pairs.float())
    found, first = [], 0
    for at, some in enumerate(parts):
        found.append(_parts(some, going[first : first + len(some)], at))
        first += len(some)
    return found


def mask_shares(tree: Hierarchy, classes: Sequence[Sequence[int]]) -> list[float]:
    """The share of the fitting pixels that masks give to each class.

    Of trees whose fit measured no ranks, the share that lies in its clusters: nearly the same.
    """
    if tree.evidence is None or tree.evidence.ranks is None:
        return [sum(shares_of(tree, nodes)) for nodes in classes]
    scores = rank_scores(tree.evidence.ranks)
    winner, _, _ = top_two(scores[list(nodes)].amax(dim=0) for nodes in classes)
    counts = torch.bincount(winner.long(), minlength=len(classes))
    return [float(share) for share in counts / max(len(winner), 1)]


def rank_scores(
    ranks: UInt8[Tensor, "px nodes"] | Int16[Tensor, "px nodes"],
) -> Float32[Tensor, "nodes px"]:
    """Scores that are in the order that these ranks say."""
    return -ranks.T.float()


def top_two(
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
