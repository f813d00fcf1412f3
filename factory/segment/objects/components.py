"""Connected components of a mask, on the host: union-find over the runs of each row."""

import numpy as np
from jaxtyping import Bool, Int64


def number_components(mask: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    """Number the 4-connected components of `mask`: 1, 2, ... in reading order, 0 outside."""
    # Runs, not pixels: a 1024-px mask has some thousand of them, so that NumPy alone is fast enough.
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    parents = _joined(len(rows), *_touching(rows, starts, ends, mask.shape[1] + 1))
    _, numbers = np.unique(parents, return_inverse=True)
    labels = np.zeros(mask.shape, dtype=np.int64)
    labels[mask] = np.repeat(numbers + 1, ends - starts)
    return labels


def _touching(
    rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs in adjacent rows that share a column, as two arrays of run indices."""
    # Row and column as one ascending number: one binary search finds the first and the last run of
    # the next row for all runs at once. `stride` is a column more than there are, so that a run that
    # ends at the right edge is not adjacent to one that starts at the left.
    below = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, below + starts, side="right")
    last = np.searchsorted(rows * stride + starts, below + ends, side="left")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + within


def _joined(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest run of each component, by run: hook roots of touching runs, halve paths, repeat."""
    parents = np.arange(count)
    while True:
        a, b = parents[first], parents[second]
        if np.array_equal(a, b):
            return parents
        # The smaller root wins, so that the numbering does not depend on the order of the pairs.
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(roots := parents[parents], parents):
            parents = roots
