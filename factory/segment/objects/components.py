"""Connected parts of a mask, on the host: runs of each row, joined where they touch the next row's."""

import numpy as np
from jaxtyping import Bool, Int64


def number_components(mask: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    """1, 2, ... for the 4-connected parts of `mask`, in reading order; 0 outside."""
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
    """Every run with each run of the next row that it touches."""
    below = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, below + starts, side="right")
    last = np.searchsorted(rows * stride + starts, below + ends, side="left")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + within


def _joined(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest run of each part: join the roots of touching runs, then point at roots, and again."""
    parents = np.arange(count)
    while True:
        a, b = parents[first], parents[second]
        if np.array_equal(a, b):
            return parents
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(roots := parents[parents], parents):
            parents = roots
