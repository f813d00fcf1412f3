"""Figures over images, each with its 95 % interval by a bootstrap over the images.

All figures of one evaluation are resampled with the same images, so that means of figures can be taken
round by round.
"""

import numpy as np
from jaxtyping import Float, Int64
from pydantic import Field

from factory.identity import counter_rng
from factory.manifest.labels import Facts

ROUNDS = 1000
_QUANTILES = [0.025, 0.975]


class Figure(Facts):
    """A figure with its 95 % interval; null if no image has it."""

    value: float | None = Field(ge=0, le=1)
    """The figure over all images, 0 to 1."""
    low: float | None = Field(ge=0, le=1)
    """Lower end of the interval."""
    high: float | None = Field(ge=0, le=1)
    """Upper end of the interval."""


def draw_weights(
    num_images: int, *, rounds: int = ROUNDS, seed: int = 0
) -> Int64[np.ndarray, "r n"]:
    """How often each image counts, by round: once in the first, then as often as it was drawn."""
    picks = counter_rng("resampling", seed, 0).integers(0, num_images, (rounds, num_images))
    drawn = np.stack([np.bincount(row, minlength=num_images) for row in picks])
    return np.concatenate([np.ones((1, num_images), dtype=np.int64), drawn])


def mean_rounds(
    values: Float[np.ndarray, "n k"], weights: Int64[np.ndarray, "r n"]
) -> Float[np.ndarray, "r k"]:
    """Mean over images of each column, by round; images without a value (NaN) are left out."""
    known = ~np.isnan(values)
    return _ratio(weights @ np.where(known, values, 0.0), weights @ known.astype(np.float64))


def ratio_rounds(
    above: Float[np.ndarray, "n k"],
    below: Float[np.ndarray, "n k"],
    weights: Int64[np.ndarray, "r n"],
) -> Float[np.ndarray, "r k"]:
    """Ratio of the sums over images of each column, by round."""
    return _ratio(weights @ above, weights @ below)


def mean_of(columns: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
    """Mean over columns by round; columns without a value are left out."""
    known = ~np.isnan(columns)
    return _ratio(np.where(known, columns, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def figure_of(rounds: Float[np.ndarray, " r"]) -> Figure:
    """The figure of the first round, with the interval of the others."""
    if np.isnan(rounds[0]):
        return Figure(value=None, low=None, high=None)
    drawn = rounds[1:][~np.isnan(rounds[1:])]
    low, high = np.quantile(drawn, _QUANTILES) if len(drawn) else (rounds[0], rounds[0])
    value, low, high = (round(min(1.0, max(0.0, float(v))), 6) for v in (rounds[0], low, high))
    return Figure(value=value, low=low, high=high)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
