"""Agreement of two labellings of the same pixels, from counts alone.

ARI, AMI and V-measure ask how alike two partitions are, whatever the labels are called; IoU and
accuracy need clusters that were matched to classes. Every count is exact: nothing is sampled or
rounded to thousands.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from factory.evaluate.contingency import Contingency

UNASSIGNED = -1
"""The class of a cluster that stands for none."""

_NEGLIGIBLE = 40.0
"""Minus the logarithm of a probability that no float64 sum can see."""


def adjusted_rand(counts: Int64[np.ndarray, "g k"]) -> float:
    """Adjusted Rand index: 1 = the same partition, 0 = as alike as by chance, below 0 = less.

    `counts` are pixels by class and cluster, at least one in all. Hubert and Arabie 1985,
    "Comparing partitions". In exact integers: pairs of 10^11 pixels overflow 64 bits.
    """
    total = int(counts.sum())
    all_pairs = total * (total - 1) // 2
    together = _num_pairs(counts.ravel())
    truth, found = _num_pairs(counts.sum(axis=1)), _num_pairs(counts.sum(axis=0))
    above = 2 * (together * all_pairs - truth * found)
    below = (truth + found) * all_pairs - 2 * truth * found
    return above / below if below else 1.0


def adjusted_mutual_information(counts: Int64[np.ndarray, "g k"]) -> float:
    """Mutual information less what chance gives, over the mean entropy less the same: 1 = equal.

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
    """1 = every cluster holds pixels of one class."""
    completeness: float
    """1 = every class lies in one cluster."""
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
    sizes. Only what lies within reach of its mean is summed; the rest weighs less than rounding.
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

    Probabilities follow from their neighbours' and are normalised in the end: the factorials of
    the textbook formula cancel digits where counts are large.
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
    """How far from its mean x falls with a probability that cannot be seen.

    Bernstein's inequality, which holds for draws without replacement (Hoeffding 1963, "Probability
    inequalities for sums of bounded random variables", section 6). Drawing the pixels of `a`, those
    outside it, or the same of `b` are four views of one x; the least variance serves.
    """
    variance = min(
        min(a, total - a) * (b / total) * (1 - b / total),
        min(b, total - b) * (a / total) * (1 - a / total),
    )
    third = _NEGLIGIBLE / 3
    return float(third + np.sqrt(third**2 + 2 * _NEGLIGIBLE * variance) + 1)


def _num_pairs(counts: Int64[np.ndarray, " e"]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.tolist())


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
    """Pixels per image and class, once every cluster stands for a class or for none."""

    shared: Int64[np.ndarray, "n g"]
    """Pixels that both sides give to the class."""
    truth: Int64[np.ndarray, "n g"]
    """Pixels that the reference gives to it."""
    found: Int64[np.ndarray, "n g"]
    """Pixels that the masks give to it."""


def overlaps(table: Contingency, assignment: Int64[np.ndarray, " k"], num_classes: int) -> Overlaps:
    """Overlaps when cluster k stands for class `assignment[k]` (`UNASSIGNED` = none)."""
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
    """Share of the pixels whose reference is one of `classes` that were given their class.

    The reference must show one of them.
    """
    return int(counts.shared[:, classes].sum()) / int(counts.truth[:, classes].sum())


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, NaN where there is nothing."""
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)
