"""Pixel counts of predicted masks by class, per image and over images, and pixels near borders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from factory.data import IGNORE


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
