"""How foreground masks are scored by the authors of the latent-direction method."""

import numpy as np
from numpy.typing import NDArray

BETA_SQUARED = 0.3
THRESHOLDS = np.arange(1, 255) / 255


def accuracies(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the pixels of each image that are right."""
    return (found == truth).mean(axis=(1, 2))


def foreground_ious(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU of the foreground of each image; 0 where there is none on either side."""
    both = (found & truth).sum(axis=(1, 2))
    return both / np.maximum((found | truth).sum(axis=(1, 2)), 1)


def precision_and_recall(
    found: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each image; precision is 1 where nothing is found, recall where nothing is there."""
    both, ours, theirs = (one.sum(axis=(1, 2)) for one in (found & truth, found, truth))
    return (
        np.where(ours > 0, both / np.maximum(ours, 1), 1.0),
        np.where(theirs > 0, both / np.maximum(theirs, 1), 1.0),
    )


def f_measures(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted harmonic mean, which counts precision more; 0 where both are 0."""
    below = BETA_SQUARED * precision + recall
    return (1 + BETA_SQUARED) * precision * recall / np.where(below > 0, below, 1)


def best_f(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The best mean F over 254 thresholds, each the same for all images."""
    return max(
        float(f_measures(*precision_and_recall(probability > threshold, truth)).mean())
        for threshold in THRESHOLDS
    )
