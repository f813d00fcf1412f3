"""Clustering and segmentation metrics, computed from exact pixel counts.

ARI, AMI and V-measure compare partitions and do not depend on how labels are numbered; IoU and
accuracy need clusters that were matched to classes. No pixel is sampled away.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from factory.evaluate.contingency import Contingency

UNASSIGNED = -1
"""The class of a cluster that is matched to none."""

_NEGLIGIBLE = 40.0
"""Negative logarithm of a probability below the resolution of a float64 sum (e^-40 is 4e-18)."""


def adjusted_mutual_information(counts: Int64[np.ndarray, "g k"]) -> float:
    """Adjusted mutual information (AMI): 1 = the same partition, 0 = as similar as by chance.

    `counts` are pixels by class and cluster, at least one in all. Vinh, Epps and Bailey 2010,
    "Information theoretic measures for clusterings comparison", with the arithmetic mean.
    """
    truth, found = _margins(counts)
    if len(truth) == len(found) == 1:
        return 1.0
    chance = expected_mutual_information(truth, found)
    mean_entropy = (_entropy(truth) + _entropy(found)) / 2
    above, below = _mutual_information(counts) - chance, mean_entropy - chance
    return above / below if abs(below) > np.finfo(np.float64).eps else 1.0


@dataclass(frozen=True, slots=True)
class VMeasure:
    """V-measure and its two parts, each 0 to 1."""

    homogeneity: float
    """1 = every cluster contains pixels of one class only."""
    completeness: float
    """1 = every class is contained in one cluster."""
    v_measure: float
    """Their harmonic mean."""


def v_measure(counts: Int64[np.ndarray, "g k"]) -> VMeasure:
    """V-measure of pixels by class and cluster, at least one in all.

    Rosenberg and Hirschberg 2007, "V-measure: a conditional entropy-based external cluster
    evaluation measure", with beta = 1. It is not adjusted for chance: more clusters raise it.
    """
    truth, found = _margins(counts)
    shared = _mutual_information(counts)
    homogeneity = shared / _entropy(truth) if len(truth) > 1 else 1.0
    completeness = shared / _entropy(found) if len(found) > 1 else 1.0
    both = homogeneity + completeness
    mean = 2 * homogeneity * completeness / both if both else 0.0
    return VMeasure(homogeneity, completeness, mean)


def expected_mutual_information(
    truth: Int64[np.ndarray, " g"], found: Int64[np.ndarray, " k"]
) -> float:
    """Mutual information, in nats, of random labellings with these class and cluster sizes.

    Vinh et al. 2010, equation 24a: a sum over the hypergeometric distribution of every pair of
    sizes. Only values near the mean are summed; the others contribute less than the rounding error.
    """
    total = int(truth.sum())
    sizes: dict[tuple[int, int], int] = {}
    for a in truth.tolist():
        for b in found.tolist():
            pair = (min(a, b), max(a, b))
            sizes[pair] = sizes.get(pair, 0) + 1
    return sum(_expected_term(a, b, total) * times for (a, b), times in sizes.items()) / total


def _expected_term(a: int, b: int, total: int) -> float:
    """Mean of x log(x total / (a b)), where x of `a` pixels drawn from `total` fall into `b`.

    Each probability is computed from its neighbour's, and all are normalised at the end: the factorials
    of the textbook formula lose digits by cancellation where counts are large.
    """
    mean = a * b / total
    reach = _reach(a, b, total)
    least, most = max(0, a + b - total), min(a, b)
    x = np.arange(max(least, int(mean - reach)), min(most, int(mean + reach) + 1) + 1.0)
    before = x[:-1]
    ratios = (a - before) * (b - before) / ((before + 1) * (total - a - b + before + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    weights = np.exp(logs - logs.max())
    return float(weights @ (x * np.log(np.maximum(x, 1) / mean)) / weights.sum())


def _reach(a: int, b: int, total: int) -> float:
    """The distance from the mean beyond which x has a negligible probability.

    Bernstein's inequality, which holds for draws without replacement (Hoeffding 1963, "Probability
    inequalities for sums of bounded random variables", section 6). Drawing the pixels of `a`, those
    outside it, or the same for `b` are four descriptions of one x; the smallest variance is used.
    """
    variance = min(
        min(a, total - a) * (b / total) * (1 - b / total),
        min(b, total - b) * (a / total) * (1 - a / total),
    )
    third = _NEGLIGIBLE / 3
    return float(third + np.sqrt(third**2 + 2 * _NEGLIGIBLE * variance) + 1)


def _margins(
    counts: Int64[np.ndarray, "g k"],
) -> tuple[Int64[np.ndarray, " g2"], Int64[np.ndarray, " k2"]]:
    """Sizes of the classes and of the clusters that occur."""
    truth, found = counts.sum(axis=1), counts.sum(axis=0)
    return truth[truth > 0], found[found > 0]


def _entropy(sizes: Int64[np.ndarray, " k"]) -> float:
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _mutual_information(counts: Int64[np.ndarray, "g k"]) -> float:
    shares = counts / counts.sum()
    chance = np.outer(shares.sum(axis=1), shares.sum(axis=0))
    there = counts > 0
    information = (shares[there] * np.log(shares[there] / chance[there])).sum()
    return max(0.0, float(information))


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Pixels per image and class, after clusters were matched to classes."""

    shared: Int64[np.ndarray, "n g"]
    """Pixels of the class in both reference and masks."""
    truth: Int64[np.ndarray, "n g"]
    """Pixels of the class in the reference."""
    found: Int64[np.ndarray, "n g"]
    """Pixels of the class in the masks."""


def overlaps(table: Contingency, assignment: Int64[np.ndarray, " k"], num_classes: int) -> Overlaps:
    """Overlaps if cluster k is matched to class `assignment[k]` (`UNASSIGNED` = none)."""
    classes = assignment[table.cluster]

    def per_class(ids: np.ndarray, entries: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(table.keys), num_classes), dtype=np.int64)
        np.add.at(sums, (table.image[entries], ids[entries]), table.counts[entries])
        return sums

    return Overlaps(
        per_class(classes, classes == table.truth),
        per_class(table.truth, np.ones(len(classes), dtype=bool)),
        per_class(classes, classes != UNASSIGNED),
    )


def iou_per_image(counts: Overlaps) -> Float64[np.ndarray, " g"]:
    """Each class's IoU, averaged over the images whose reference shows it; NaN if none does."""
    shown = counts.truth > 0
    either = counts.truth + counts.found - counts.shared
    ratios = np.where(shown, counts.shared / np.maximum(either, 1), 0.0)
    return _ratio(ratios.sum(axis=0), shown.sum(axis=0))


def iou_global(counts: Overlaps) -> Float64[np.ndarray, " g"]:
    """Each class's IoU over the pixels of all images; NaN if the reference never shows it."""
    shared, truth, found = (
        side.sum(axis=0) for side in (counts.shared, counts.truth, counts.found)
    )
    return np.where(truth > 0, _ratio(shared, truth + found - shared), np.nan)


def pixel_accuracy(counts: Overlaps, classes: Bool[np.ndarray, " g"]) -> float:
    """Share of correct pixels among those whose reference class is one of `classes`.

    There must be at least one such pixel.
    """
    return int(counts.shared[:, classes].sum()) / int(counts.truth[:, classes].sum())


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`; NaN where `below` is 0."""
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)
