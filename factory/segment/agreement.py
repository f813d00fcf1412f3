"""How far two divisions of the same pixels agree, from exact counts."""

import numpy as np
from jaxtyping import Float64, Int64


def adjusted_rand(counts: Int64[np.ndarray, "g k"]) -> float:
    """Adjusted Rand index: 1 = the same partition, 0 = as similar as by chance, below 0 = less.

    `counts` are pixels by class and cluster, at least one in all. Hubert and Arabie 1985,
    "Comparing partitions". In Python's integers: pairs of 10^11 pixels overflow 64 bits.
    """
    total = int(counts.sum())
    all_pairs = total * (total - 1) // 2
    together = _num_pairs(counts.ravel())
    truth, found = _num_pairs(counts.sum(axis=1)), _num_pairs(counts.sum(axis=0))
    above = 2 * (together * all_pairs - truth * found)
    below = (truth + found) * all_pairs - 2 * truth * found
    return above / below if below else 1.0


def class_iou(counts: Int64[np.ndarray, "k k"]) -> Float64[np.ndarray, " k"]:
    """Intersection over union of each class; NaN for one that neither side uses.

    `counts` are pixels by class (rows) and by what was found for them (columns).
    """
    both = counts.diagonal().astype(np.float64)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    shares: np.ndarray = np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)
    return shares


def _num_pairs(counts: Int64[np.ndarray, " e"]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.tolist())
