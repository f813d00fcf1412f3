"""How many classes a merge tree speaks for.

KLiSH leaves the choice to a person (Xu et al., TPAMI 2023, section 3); all of this is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from factory.segment.tree.hierarchy import Hierarchy

_LEAST_IOU, _MOST_IOU, _LEAST_ALIKE = 0.5, 0.999, 1e-3
"""Beyond these the two figures of a merge say nothing: a cluster with an IoU below one half is no
cluster, and the last thousandth is chance."""

_MOST_CLASSES = 24
"""Where features are heavy-tailed, single merges of leaves stand out as much as any: they are pieces of
parts, and nobody names so many."""

MOST_SHARE, LEAST_IMAGES = 0.9, 0.01
"""A class with more of the pixels, or in fewer of the images, is of little use (see `doubts.py`)."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """How many classes the fitting pixels themselves speak for."""

    num_classes: int
    """The first of `ranked`."""
    ranked: tuple[tuple[int, float], ...]
    """Numbers of classes with their scores, the best first: the sum of the two `shares`, 0 where
    the next merge is as good as one before. With evidence (the robust rule) the sum counts as far as
    the cut agrees with those of other images and its classes are of one size, and cuts with a class
    of nearly all pixels or in almost no image come last."""
    shares: tuple[tuple[float, float], ...]
    """In the same order: by how much separation (log odds of the cluster IoU) and unlikeness (log
    of the extended cosine similarity) of the next merges exceed those of the last."""


def suggest_cuts(tree: Hierarchy) -> Suggestion:
    """Where merging stops to join what belongs together.

    A number of classes is good if the merge that led to it was easy and all that follow are
    hard: a large drop of the least cluster IoU and a large gap in similarity; their sum, on
    logarithmic scales, is the score. Two classes are never suggested while there is a choice, for
    no later merge speaks for them.
    """
    odds, likeness = _envelopes(tree.history[:, 2:].tolist())
    shares = {
        tree.num_leaves - merge: (
            odds[merge] - odds[merge - 1],
            likeness[merge - 1] - likeness[merge],
        )
        for merge in range(1, len(odds))
    } or {tree.num_leaves: (0.0, 0.0)}
    if tree.evidence is not None:
        few = {count: pair for count, pair in shares.items() if count <= _MOST_CLASSES}
        shares = few or shares
    scores = {count: sum(pair) * _weight(tree, count) for count, pair in shares.items()}
    lopsided = {count for count in scores if _is_lopsided(tree, count)}
    best = sorted(scores, key=lambda count: (count in lopsided, -scores[count], count))
    ranked = tuple((count, round(scores[count], 4)) for count in best)
    return Suggestion(
        best[0], ranked, tuple((round(shares[k][0], 4), round(shares[k][1], 4)) for k in best)
    )


def shares_of(tree: Hierarchy, nodes: Sequence[int]) -> list[float]:
    """The share of the fitting pixels that each node holds."""
    sizes = tree.sizes.tolist()
    total = sum(sizes[: tree.num_leaves])
    return [sizes[node] / max(total, 1) for node in nodes]


def _envelopes(figures: list[list[float]]) -> tuple[list[float], list[float]]:
    """The least log odds of cluster IoU and the largest log similarity from each merge on."""
    # From a merge on, and not of a merge: under either rule single merges are easier than the ones
    # before them, and only a level that no later merge falls below is a reason to stop.
    odds, likeness = [math.inf], [-math.inf]
    for iou, alike in reversed(figures):
        share = min(max(iou, _LEAST_IOU), _MOST_IOU)
        odds.append(min(odds[-1], math.log(share / (1 - share))))
        likeness.append(max(likeness[-1], math.log(max(alike, _LEAST_ALIKE))))
    return odds[:0:-1], likeness[:0:-1]


def _weight(tree: Hierarchy, count: int) -> float:
    """How far a cut's score counts: by its agreement under resampling, and its balance, 0 to 1."""
    if tree.evidence is None:
        return 1.0
    shares = [share for share in shares_of(tree, tree.flat_cut(count)) if share > 0]
    # Classes of one size would have this entropy; a true part may well be small, hence the root.
    evenness = -sum(share * math.log(share) for share in shares) / math.log(count)
    agreement = max(float(tree.evidence.agreement[count - 2]), 0.0)
    return agreement * math.sqrt(max(evenness, 0.0))


def _is_lopsided(tree: Hierarchy, count: int) -> bool:
    if tree.evidence is None:
        return False
    cut = tree.flat_cut(count)
    images = [tree.image_share([node]) or 0.0 for node in cut]
    return max(shares_of(tree, cut)) > MOST_SHARE or min(images) < LEAST_IMAGES
