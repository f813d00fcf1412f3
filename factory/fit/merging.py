"""KLiSH's second stage: clusters of pixels merged by linear separability, down to two.

Source: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic knowledge from GANs with unsupervised
learning", https://arxiv.org/abs/2211.16710, and the released code. Where we differ:

- One-vs-rest planes do not depend on each other, so that after a merge only the new cluster's plane
  is fitted again, to its minimum; the release takes a few steps on all of them. Scores are kept, and
  only the new plane's are computed.
- Which clusters are merged, and that they are told apart by clipped vectors: see `merge_order.py` and
  `pixels/ball.py`. With `merging: published` it is the paper's rule on the vectors as they are.

A checkpoint contains the planes only: with them the merging is repeated without a search.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext, median_of
from factory.fit.found import Found
from factory.fit.klish_forecast import LEAD_PIXELS
from factory.fit.merge_order import MergeCosts, choose_cheap_pair, choose_pair
from factory.fit.pixels.pool import added
from factory.fit.pixels.separation import LEAST_GAIN, HingeLoss, num_at_once, separate
from factory.fit.resampling import (
    Merge,
    agreement_at_cuts,
    merges_under_resampling,
    stability_of_nodes,
)
from factory.segment.tree.evidence import Evidence
from factory.segment.tree.hierarchy import Hierarchy

# The first rounds of a search only find out which pixels lie near the plane, and any part of the pixels
# shows that: they are made on every fourth, and the last ones on all. The robust rule reads a cluster's
# IoU from its plane, which a thousandth of the loss does not move.
_ROUGH_STRIDE, _ROUGH_GAIN, _LEAST_GAIN = 4, 1e-2, 1e-3

# 4,096 pixels in all: shares of a part with 50 of them are known to .07, and the ranks of 100 clusters'
# nodes take 0.8 MB of the file, no more than their planes.
_RANKED_PIXELS = 256


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of merging."""

    hierarchy: Hierarchy
    num_agreed: int
    """Number of pixels whose best leaf by score is the one they belong to."""
    num_rounds: int
    """Rounds of all searches."""


def merge_clusters(context: FitContext, num_pixels: int, found: Found) -> Merged:
    """Merge the clusters of the context's pixels around `found.centres` until two are left.

    Which two are merged says `merge_order.py`: its robust rule if `found.ball` is given, else the
    published one. `found` is extended in place; planes that it contains already are not searched again.

    Raises:
        JobError: If fewer than two clusters hold a pixel.
        Interrupted: If a stop was requested; the planes found so far are in the checkpoint.
    """
    if found.ball is not None:
        context.pool.update("clip", found.ball)
    if not found.planes:
        order = _sizes(context, found.centres).argsort(descending=True, stable=True)
        found.centres = found.centres[order]
    try:
        return _merge(context, found, _Search(context, num_pixels, found))
    except BaseException:
        context.checkpoint.save(found.tensors(), now=True)
        raise


def merged_plane(
    planes: Float32[Tensor, "2 c1"], sizes: Int64[Tensor, " 2"]
) -> Float32[Tensor, "1 c1"]:
    """Start of the search for the plane of two merged clusters: the mean of theirs, by pixels."""
    share = float(sizes[0] / sizes.sum().clamp(min=1))
    return planes[:1] * share + planes[1:] * (1 - share)


class _Search:
    """Searches planes, except for those that a checkpoint contains."""

    def __init__(self, context: FitContext, num_pixels: int, found: Found) -> None:
        self._context, self._found = context, found
        self._loss = HingeLoss(context.pool, num_pixels)
        self._rough, self._least_gain = None, LEAST_GAIN
        if found.ball is not None:
            self._rough = HingeLoss(context.pool, num_pixels, _ROUGH_STRIDE)
            self._least_gain = _LEAST_GAIN

    def leaves(self) -> None:
        """Find the planes of all leaves, a few at a time."""
        count, known = len(self._found.centres), len(self._found.planes)
        start = _first_planes(self._found.centres)
        at_once = num_at_once(self._found.centres.shape[1])
        progress = self._context.progress
        progress.begin("planes", count, min(known, count))
        for first in range(known, count, at_once):
            columns = torch.arange(first, min(first + at_once, count))
            self._find(columns, start[columns], first)

    def merged(self, node: int, pair: list[int], sizes: list[int], column: int) -> Tensor:
        """The plane of `node`, made of the clusters `pair` with so many pixels."""
        if node == len(self._found.planes):
            planes = torch.stack([self._found.planes[part] for part in pair])
            self._find(torch.tensor([column]), merged_plane(planes, torch.tensor(sizes)), None)
        return self._found.planes[node]

    def _find(self, columns: Tensor, start: Tensor, num_done: int | None) -> None:
        context = self._context
        columns, start = context.keep(columns), context.keep(start)
        if self._rough is not None:
            advance = context.progress.advance
            start, _ = separate(self._rough, columns, start, lambda _: advance(0), _ROUGH_GAIN)
        planes, rounds = separate(
            self._loss,
            columns,
            start,
            lambda count: (
                context.progress.advance(0)
                if num_done is None
                else context.progress.reach(num_done + count)
            ),
            self._least_gain,
        )
        self._found.planes += list(planes.cpu())
        self._found.rounds += rounds.tolist()
        context.checkpoint.save(self._found.tensors())


class _Clusters:
    """The remaining clusters. Each has a column of scores; a merged one reuses its second part's."""

    def __init__(
        self, context: FitContext, sizes: Tensor, planes: Tensor, costs: MergeCosts | None
    ) -> None:
        self._pool, self._costs = context.pool, costs
        held = added(self._pool.update("hold", context.keep(planes)))
        self._both, self._either, self._alike, agreed = (total.cpu() for total in held)
        self.num_agreed = int(agreed)
        self._sizes = sizes
        self.merges: list[Merge] = []
        self._columns = list(range(len(sizes)))
        self._nodes = list(range(len(sizes)))

    def __len__(self) -> int:
        return len(self._columns)

    def next_pair(self) -> tuple[int, int, list[float]]:
        """Positions of the two clusters to merge, and the figures that the tree keeps of the merge.

        These are the cluster IoU of the first, their similarity and, if there are costs, theirs.
        """
        alive = torch.tensor(self._columns)
        iou = self._both[alive] / self._either[alive].clamp(min=1).double()
        alike = self._alike[alive][:, alive]
        norms = alike.diagonal().sqrt()
        alike = alike / (norms[:, None] * norms).clamp(min=torch.finfo(torch.float64).tiny)
        if self._costs is None:
            first, second = choose_pair(iou, alike, self._sizes[alive])
            return first, second, [float(iou[first]), float(alike[first, second])]
        costs = self._costs.among(alive)
        first, second = choose_cheap_pair(costs, iou, alike, self._sizes[alive])
        figures = [iou[first], alike[first, second], costs[first, second]]
        return first, second, [float(figure) for figure in figures]

    def nodes(self, *positions: int) -> list[int]:
        """Their tree nodes."""
        return [self._nodes[position] for position in positions]

    def join(self, first: int, second: int, node: int) -> int:
        """Merge one cluster into another, which becomes `node`; returns its column."""
        gone, stays = self._columns[first], self._columns[second]
        self.merges.append((gone, stays))
        self._pool.update("join", gone, stays)
        if self._costs is not None:
            self._costs.join(gone, stays)
        self._sizes[stays] += self._sizes[gone]
        self._nodes[second] = node
        del self._columns[first], self._nodes[first]
        return stays

    def hold(self, column: int, plane: Tensor) -> None:
        """Update a cluster's statistics for its new plane."""
        both, either, row = added(
            self._pool.update("hold_one", column, plane.to(self._pool.device))
        )
        self._both[column], self._either[column] = both.cpu(), either.cpu()
        self._alike[column] = self._alike[:, column] = row.cpu()

    def median_lead(self) -> float:
        """Lead of the best plane over the second, in logits."""
        columns = torch.tensor(sorted(self._columns))
        return median_of(self._pool.query("leads", columns, LEAD_PIXELS))


def _merge(context: FitContext, found: Found, search: _Search) -> Merged:
    leaves = len(found.centres)
    sizes = _sizes(context, found.centres)
    if int(sizes.count_nonzero()) < 2:
        raise JobError(
            "dataset.segmenter.initial_clusters: all fitting pixels lie in one cluster; fit on "
            "more images, or on other layers"
        )
    search.leaves()
    node_sizes: list[int] = sizes.tolist()
    robust = None if found.ball is None else _Robust(context, found.centres)
    planes = torch.stack(found.planes[:leaves])
    clusters = _Clusters(context, sizes.clone(), planes, robust.costs if robust else None)
    history: list[list[float]] = []
    margins = [clusters.median_lead()]
    known = len(found.planes) - leaves
    context.progress.begin("merging", leaves - 2, known)
    while len(clusters) > 2:
        node = leaves + len(history)
        first, second, figures = clusters.next_pair()
        pair = clusters.nodes(first, second)
        history.append([*pair, *figures])
        column = clusters.join(first, second, node)
        pair_sizes = [node_sizes[part] for part in pair]
        node_sizes.append(sum(pair_sizes))
        clusters.hold(column, search.merged(node, pair, pair_sizes, column))
        margins.append(clusters.median_lead())
        context.progress.reach(max(len(history), known))
    kept = torch.tensor(history).view(leaves - 2, -1 if history else 4)
    hierarchy = Hierarchy(
        torch.stack(found.planes),
        torch.tensor(node_sizes),
        kept[:, :4].contiguous(),
        torch.tensor(margins[::-1]),
        robust.evidence(clusters.merges, kept[:, 4:].flatten(), sizes, found) if robust else None,
    )
    return Merged(hierarchy, clusters.num_agreed, sum(found.rounds))


class _Robust:
    """What the robust rule goes by, and the evidence that is left of it in the end."""

    def __init__(self, context: FitContext, centres: Tensor) -> None:
        self._context = context
        # The pixels are assigned to these centres by the same arithmetic, so that Lloyd's sums are
        # those of the clusters, and no pass of its own is needed.
        parts = context.pool.query("lloyd", context.keep(centres))
        sums = torch.stack([part[0].cpu() for part in parts])
        sizes = torch.stack([part[1].cpu() for part in parts])
        self.costs = MergeCosts(sums.sum(dim=0), sizes.sum(dim=0))
        # Now and not at the end: the sums of all parts are much larger than what follows from them.
        self._resampled = merges_under_resampling(sums, sizes)
        images = context.pool.query("images_of", len(centres))
        self._images = torch.cat([part.cpu() for part in images], dim=1)

    def evidence(self, merges: list[Merge], costs: Tensor, sizes: Tensor, found: Found) -> Evidence:
        """The evidence for the tree of `found`, made by `merges` at these costs of leaves so large."""
        agreement = agreement_at_cuts(merges, self._resampled, sizes)
        stability = stability_of_nodes(merges, self._resampled, sizes)
        planes = self._context.keep(torch.stack(found.planes))
        ranks = [part.cpu() for part in self._context.pool.query("ranks", planes, _RANKED_PIXELS)]
        return Evidence(costs, agreement, self._images, stability, torch.cat(ranks))


def _sizes(context: FitContext, centres: Tensor) -> Tensor:
    """Assign all pixels to their nearest centres; returns the number of pixels of each cluster."""
    parts = context.pool.update("assign", context.keep(centres))
    return added([(sizes,) for sizes in parts])[0].cpu()


def _first_planes(centres: Tensor) -> Tensor:
    """Initial planes: the highest score belongs to the nearest centre; scaled as in the release."""
    squares = centres.square().sum(dim=1)
    scale = squares.max().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.cat([centres, -squares[:, None] / 2], dim=1) / scale
