"""The highest F-measure of a foreground map over thresholds, as saliency benchmarks report it.

Achanta et al. 2009, "Frequency-tuned salient region detection": precision counts more than recall
(beta squared = 0.3). Precision and recall are means over pictures at each of 255 thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8

from factory.data import IGNORE
from factory.downstream.intervals import mean_rounds

_BETA_SQUARED = 0.3
_LEVELS = 256


@dataclass(frozen=True, slots=True)
class ForegroundCurve:
    """Precision and recall of one picture by threshold; NaN for a picture without foreground."""

    precision: Float[np.ndarray, " t"]
    """Share of pixels above the threshold that are foreground; 1 where none is above."""
    recall: Float[np.ndarray, " t"]
    """Share of the foreground that is above the threshold."""


def make_curve(
    foreground: Float[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"]
) -> ForegroundCurve:
    """The curve of a map of 0 to 1; `truth` is 1 for foreground, 0 for background, 255 = ignore."""
    levels = np.clip(np.round(foreground * (_LEVELS - 1)), 0, _LEVELS - 1).astype(np.int64)
    counts = [np.bincount(levels[truth == k], minlength=_LEVELS) for k in (0, 1)]
    wrong, right = (np.cumsum(count[::-1])[::-1][1:] for count in counts)
    total = int((truth == 1).sum())
    if not total or not (truth != IGNORE).any():
        nothing = np.full(_LEVELS - 1, np.nan)
        return ForegroundCurve(nothing, nothing)
    above = right + wrong
    return ForegroundCurve(np.where(above > 0, right / np.maximum(above, 1), 1.0), right / total)


def highest_f(
    curves: Sequence[ForegroundCurve], weights: Int64[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """The highest F-measure over thresholds, by round of the bootstrap."""
    precision = mean_rounds(np.stack([curve.precision for curve in curves]), weights)
    recall = mean_rounds(np.stack([curve.recall for curve in curves]), weights)
    below = _BETA_SQUARED * precision + recall
    scores = (1 + _BETA_SQUARED) * precision * recall / np.where(below > 0, below, 1)
    is_known = ~np.isnan(scores).all(axis=1)
    return np.where(is_known, np.nanmax(np.where(np.isnan(scores), -1, scores), axis=1), np.nan)
