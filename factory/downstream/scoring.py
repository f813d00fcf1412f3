"""Scores of predicted masks: per image and over all pixels, at borders, and with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from factory.data import IGNORE
from factory.identity import counter_rng


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Pixel counts of one image, by class."""

    both: Int64[np.ndarray, " k"]
    """Pixels that prediction and truth give the class."""
    predicted: Int64[np.ndarray, " k"]
    """Pixels that the prediction gives the class."""
    true: Int64[np.ndarray, " k"]
    """Pixels that the truth gives the class."""

    def iou(self) -> Float[np.ndarray, " k"]:
        """Intersection over union by class; not a number where neither has the class."""
        either = self.predicted + self.true - self.both
        return np.where(either > 0, self.both / np.maximum(either, 1), np.nan)

    def dice(self) -> Float[np.ndarray, " k"]:
        """Dice coefficient by class; not a number where neither has the class."""
        total = self.predicted + self.true
        return np.where(total > 0, 2 * self.both / np.maximum(total, 1), np.nan)


def count_overlaps(
    predicted: UInt8[np.ndarray, "h w"],
    true: UInt8[np.ndarray, "h w"],
    num_classes: int,
    inside: Bool[np.ndarray, "h w"] | None = None,
) -> Overlaps:
    """Count the pixels of each class; those of value 255 in `true`, or not `inside`, are left out."""
    known = true != IGNORE if inside is None else (true != IGNORE) & inside
    given, wanted = predicted[known].astype(np.int64), true[known].astype(np.int64)
    return Overlaps(
        np.bincount(wanted[given == wanted], minlength=num_classes)[:num_classes],
        np.bincount(given[given < num_classes], minlength=num_classes),
        np.bincount(wanted, minlength=num_classes)[:num_classes],
    )


def add_overlaps(rows: Sequence[Overlaps]) -> Overlaps:
    """Counts of several images together."""
    return Overlaps(
        *(
            np.sum([getattr(row, name) for row in rows], axis=0)
            for name in ("both", "predicted", "true")
        )
    )


def near_borders(true: UInt8[np.ndarray, "h w"], width_px: int) -> Bool[np.ndarray, "h w"]:
    """The trimap: pixels at most `width_px` from a border between classes, on either side.

    Distances are those of a square: a pixel is in if another class lies within `width_px` rows and
    columns. Borders with pixels of value 255 do not count.
    """
    differ = np.zeros(true.shape, dtype=bool)
    for axis in (0, 1):
        first = np.take(true, range(true.shape[axis] - 1), axis)
        second = np.take(true, range(1, true.shape[axis]), axis)
        edge = (first != second) & (first != IGNORE) & (second != IGNORE)
        pads = [(0, 0), (0, 0)]
        pads[axis] = (0, 1)
        differ |= np.pad(edge, pads)
        pads[axis] = (1, 0)
        differ |= np.pad(edge, pads)
    for axis in (0, 1):
        grown = differ.copy()
        for shift in range(1, width_px):
            ahead = np.roll(differ, shift, axis)
            behind = np.roll(differ, -shift, axis)
            ahead[(slice(None),) * axis + (slice(0, shift),)] = False
            behind[(slice(None),) * axis + (slice(-shift, None),)] = False
            grown |= ahead | behind
        differ = grown
    return differ


def mean_interval(
    per_image: Float[np.ndarray, "n k"], *, rounds: int = 1000, seed: int = 0
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k 2"]]:
    """Mean over images by column, and its 95 % interval by a bootstrap over images.

    Images without a value (NaN) are left out, and columns without any stay NaN.
    """
    known = ~np.isnan(per_image)
    values = np.where(known, per_image, 0.0)
    picks = counter_rng("resampling", seed, 0).integers(0, len(per_image), (rounds, len(per_image)))
    weights = np.stack([np.bincount(row, minlength=len(per_image)) for row in picks])
    counts = weights @ known.astype(np.float64)
    sums = weights @ values
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    total = known.sum(axis=0)
    mean = np.where(total > 0, values.sum(axis=0) / np.maximum(total, 1), np.nan)
    limits = np.full((per_image.shape[1], 2), np.nan)
    for column in np.flatnonzero(total):
        limits[column] = np.nanquantile(means[:, column], [0.025, 0.975])
    return mean, limits
