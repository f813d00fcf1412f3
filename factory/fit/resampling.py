"""Stability of a merge tree's cuts under the bootstrap: how much is left if the images are resampled.

The fitting images lie in 16 parts. Sums of clusters over each part are small and at hand, so that
drawing parts anew, with replacement, needs no pixel: the merge order follows from the sums. Leaves stay
what they are; it is the choice of merges that is put to the test, as the tree's user sees it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from factory.fit.merge_order import MergeCosts, choose_cheapest_pair
from factory.identity import counter_rng
from factory.segment.agreement import adjusted_rand

# The mean over 16 draws has a standard error of about .02 where a cut is shaky, and the figure is shown
# with two digits.
_NUM_DRAWS = 16

Merge = tuple[int, int]
"""Two leaves whose clusters are merged; from then on the second represents both."""


def merges_under_resampling(
    sums: Float64[Tensor, "parts k c"], sizes: Int64[Tensor, "parts k"]
) -> list[list[Merge]]:
    """Merge orders, by cost alone, of images drawn anew, from the sums and sizes of clusters by part."""
    # Fits on few images leave parts empty; drawing those would only shrink the sample.
    filled = sizes.sum(dim=1).nonzero()[:, 0]
    orders = []
    for draw in range(_NUM_DRAWS):
        # The same draws for every fit: two fits differ by their pixels, and not by luck on top of it.
        rng = counter_rng("resampling", 0, draw)
        chosen = filled[torch.from_numpy(rng.integers(len(filled), size=len(filled)))]
        orders.append(_merge_by_cost(sums[chosen].sum(dim=0), sizes[chosen].sum(dim=0)))
    return orders


def agreement_at_cuts(
    own: list[Merge], others: list[list[Merge]], sizes: Int64[Tensor, " k"]
) -> Float32[Tensor, " cuts"]:
    """Mean adjusted Rand index of the cuts at 2, 3, ... clusters with those of other merge orders."""
    count = len(sizes)
    mine = _owners_at_cuts(own, count)
    theirs = [_owners_at_cuts(order, count) for order in others]
    means = [
        sum(_rand_index(mine[cut], other[cut], sizes) for other in theirs) / len(theirs)
        for cut in range(len(mine))
    ]
    return torch.tensor(means[::-1])


def stability_of_nodes(
    own: list[Merge], others: list[list[Merge]], sizes: Int64[Tensor, " k"]
) -> Float32[Tensor, " nodes"]:
    """How well each node of the own tree is found again in the trees of other merge orders, 0 to 1.

    The mean over the orders of the largest Jaccard index (pixels) with any node there: clusterwise
    stability (Hennig 2007, "Cluster-wise assessment of cluster stability"), with leaves that stay.
    """
    mine = _members(own, len(sizes))
    weights = sizes.double()
    best = torch.zeros(len(mine), dtype=torch.float64)
    for order in others:
        theirs = _members(order, len(sizes))
        both = (mine * weights) @ theirs.T
        either = (mine @ weights)[:, None] + (theirs @ weights)[None] - both
        # Two empty clusters are the same: k-means leaves some of few pixels without any.
        best += torch.where(either > 0, both / either.clamp(min=1), 1.0).amax(dim=1)
    return (best / len(others)).float()


def seconds_of_resampling(
    num_clusters: int, timed: Callable[[Callable[[], object]], float]
) -> float:
    """Seconds of merging so many clusters under resampling, and of comparing the trees."""
    sizes = torch.ones(num_clusters, dtype=torch.int64)
    sums = torch.arange(num_clusters, dtype=torch.float64)[:, None]
    own = _merge_by_cost(sums, sizes)

    def one_draw() -> None:
        order = [_merge_by_cost(sums, sizes)]
        agreement_at_cuts(own, order, sizes)
        stability_of_nodes(own, order, sizes)

    return _NUM_DRAWS * timed(one_draw)


def _members(merges: list[Merge], count: int) -> Float64[Tensor, "nodes k"]:
    """1 where a leaf lies below a node; nodes are the leaves, then the merged clusters in order."""
    now = torch.eye(count, dtype=torch.float64)
    made = []
    for gone, stays in merges:
        now[stays] += now[gone]
        made.append(now[stays].clone())
    return torch.cat([torch.eye(count, dtype=torch.float64), *(row[None] for row in made)])


def _merge_by_cost(sums: Tensor, sizes: Tensor) -> list[Merge]:
    costs, alive = MergeCosts(sums, sizes), list(range(len(sizes)))
    merges = []
    while len(alive) > 2:
        columns = torch.tensor(alive)
        gone, stays = choose_cheapest_pair(costs.among(columns), costs.sizes(columns))
        merges.append((alive[gone], alive[stays]))
        costs.join(*merges[-1])
        del alive[gone]
    return merges


def _owners_at_cuts(merges: list[Merge], count: int) -> list[Tensor]:
    """The cluster of each leaf before each merge and at the end: from many clusters to two."""
    owners = torch.arange(count)
    cuts = [owners.clone()]
    for gone, stays in merges:
        owners[owners == gone] = stays
        cuts.append(owners.clone())
    return cuts


def _rand_index(first: Tensor, second: Tensor, sizes: Int64[Tensor, " k"]) -> float:
    """Adjusted Rand index of two clusterings of pixels, given by leaf."""
    count = len(sizes)
    table = torch.zeros(count * count, dtype=torch.int64)
    table.index_add_(0, first * count + second, sizes)
    return adjusted_rand(table.view(count, count).numpy())
