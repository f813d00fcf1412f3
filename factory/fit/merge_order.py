"""Which two clusters are merged next: KLiSH's rule as published, and one for heavy-tailed features.

Source of the published rule: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic knowledge from GANs
with unsupervised learning", https://arxiv.org/abs/2211.16710, and the released code.

It asks whether a cluster is separable and never how far it is from the others. A far and tiny cluster
is always separable, so it is never merged; the worst separated clusters are the large ones in the dense
middle, which have neighbours on all sides. They join each other one by one, and of a DCGAN's pixels
98 in a hundred end in one class. The robust rule, ours, first asks what a merge costs, and lets
separability choose among the merges that cost nearly the least.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

# At power 1 a cost is Ward's: what a merge adds to the squared distances from the means. It grows with
# the clusters, so that two pieces of one large ground stay apart while small parts that differ are
# joined; at power 0 sizes do not count, and an outlying handful of pixels outlives everything else.
# While there are many clusters, the pieces of a large part must come together: on blood cells a low
# power takes the agreement with named classes from .54 to .61 at eight classes. Among the last few, a
# low power would keep a small class and join two large parts. Seen on ten seeds of the shipped generator
# and of the toy with coarse maps: powers of .3 to .45 differ by little more than seeds do.
_FEW_CLUSTERS = 8
_SIZE_POWER_OF_MANY, _SIZE_POWER_OF_FEW = 0.45, 0.75

# While there are many clusters they are pieces of parts, and how well a piece is separated says little:
# letting it choose among more than the very cheapest merges cost accuracy at 6 to 12 classes. The last
# few are parts, and there it finds the small true one that costs alone would swallow.
_SHORTLIST_EXCESS = 2.5

# A class of nearly all pixels is useless, so a merge that makes one is passed over for another
# that costs up to three times as much. Where the ground really is that large, its pieces cost far less
# to join than anything else, and are joined. While there are many clusters, two fifths of the pixels are
# too many: the low power would gather three quarters of a DCGAN's pixels in one class of twelve. At a
# half, classes of the toy's coarse maps are lost from six down, and parts of DCGANs are separated worse.
_MOST_SHARE_OF_MANY, _MOST_EXCESS_OF_MANY = 0.4, 5.0
_MOST_SHARE, _MOST_EXCESS = 0.85, 3.0


def choose_pair(
    iou: Float64[Tensor, " k"], alike: Float64[Tensor, "k k"], sizes: Int64[Tensor, " k"]
) -> tuple[int, int]:
    """Choose the worst separated cluster (least IoU), and the one most similar to it, as published.

    Ties go to the cluster with the most similar partner, then to the smallest; ties between
    partners to the smallest. On easy features many clusters are separated perfectly: the first
    index, which the release takes, would then merge arbitrary clusters.
    """
    others = alike.clone().fill_diagonal_(-1)
    closest = others.amax(dim=1).tolist()
    ious, counts = iou.tolist(), sizes.tolist()
    worst = min(range(len(ious)), key=lambda k: (ious[k], -closest[k], counts[k]))
    row = others[worst].tolist()
    partner = min(range(len(row)), key=lambda k: (-row[k], counts[k]))
    return worst, partner


def choose_cheap_pair(
    costs: Float64[Tensor, "k k"],
    iou: Float64[Tensor, " k"],
    alike: Float64[Tensor, "k k"],
    sizes: Int64[Tensor, " k"],
) -> tuple[int, int]:
    """Of the pairs that cost nearly the least, choose the one that holds the worst separated cluster.

    Ties go to the most similar pair, then to the smallest cluster.

    Returns:
        The worse separated cluster, and the other one.
    """
    pairs = _allowed(costs, sizes)
    cheap = pairs & (costs <= (1 + _SHORTLIST_EXCESS / len(costs)) * costs[pairs].min())
    ious, counts, likeness = iou.tolist(), sizes.tolist(), alike.tolist()

    def merit(pair: list[int]) -> tuple[float, float, int]:
        p, q = pair
        return min(ious[p], ious[q]), -likeness[p][q], min(counts[p], counts[q])

    first, second = min(cheap.nonzero().tolist(), key=merit)
    in_order = (ious[first], counts[first]) <= (ious[second], counts[second])
    return (first, second) if in_order else (second, first)


def choose_cheapest_pair(
    costs: Float64[Tensor, "k k"], sizes: Int64[Tensor, " k"]
) -> tuple[int, int]:
    """Choose the pair that costs least; the first of equals. What there is to choose without planes."""
    open_costs = costs.masked_fill(~_allowed(costs, sizes), torch.inf)
    first, second = divmod(int(open_costs.argmin()), len(costs))
    return first, second


def _allowed(costs: Tensor, sizes: Tensor) -> Tensor:
    """The pairs to choose from, each once: those that make no overlarge class, if any is affordable."""
    share, excess = _MOST_SHARE, _MOST_EXCESS
    if len(sizes) > _FEW_CLUSTERS:
        share, excess = _MOST_SHARE_OF_MANY, _MOST_EXCESS_OF_MANY
    pairs = torch.ones_like(costs, dtype=torch.bool).triu(1)
    is_light = sizes[:, None] + sizes <= share * int(sizes.sum())
    affordable = pairs & is_light & (costs <= excess * costs[pairs].min())
    return affordable if bool(affordable.any()) else pairs


class MergeCosts:
    """What each pair of clusters costs to merge: the further apart and the larger, the more."""

    def __init__(self, sums: Float64[Tensor, "k c"], sizes: Int64[Tensor, " k"]) -> None:
        """Of clusters with these sums of (clipped) vectors, and so many pixels."""
        self._sums, self._sizes = sums.clone(), sizes.clone()
        self._distances = torch.stack([self._row(column) for column in range(len(sums))])

    def among(self, columns: Int64[Tensor, " a"]) -> Float64[Tensor, "a a"]:
        """The costs of the pairs of some clusters, which are all that there are."""
        sizes = self._sizes[columns].double()
        weights = sizes[:, None] * sizes / (sizes[:, None] + sizes).clamp(min=1)
        is_many = len(columns) > _FEW_CLUSTERS
        power = _SIZE_POWER_OF_MANY if is_many else _SIZE_POWER_OF_FEW
        return weights.pow(power) * self._distances[columns][:, columns]

    def sizes(self, columns: Int64[Tensor, " a"]) -> Int64[Tensor, " a"]:
        """Numbers of pixels of some clusters."""
        return self._sizes[columns]

    def join(self, gone: int, stays: int) -> None:
        """Merge one cluster into another."""
        self._sums[stays] += self._sums[gone]
        self._sizes[stays] += self._sizes[gone]
        self._distances[stays] = self._distances[:, stays] = self._row(stays)

    def _row(self, column: int) -> Tensor:
        """Squared distances between the means."""
        means = self._sums / self._sizes.double().clamp(min=1)[:, None]
        return (means - means[column]).square().sum(dim=1)
