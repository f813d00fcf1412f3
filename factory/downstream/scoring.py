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

    Distances are those of a square: a pixel is in if the square of 2 `width_px` + 1 pixels around it
    shows two classes. Value 255 is none of them: what lies beside it alone is near no border, and
    classes on both sides of a seam of 255 are near each other.
    """
    highest = np.where(true == IGNORE, 0, true)
    lowest = true
    for axis in (0, 1):
        highest = _spread(highest, width_px, axis, np.maximum)
        lowest = _spread(lowest, width_px, axis, np.minimum)
    return highest > lowest


def _spread(
    values: UInt8[np.ndarray, "h w"], reach: int, axis: int, pick: np.ufunc
) -> UInt8[np.ndarray, "h w"]:
    """The `pick` of all values at most `reach` away along an axis."""
    found = values.copy()
    for shift in range(1, min(reach, values.shape[axis] - 1) + 1):
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
        for here, there in ((ahead, behind), (behind, ahead)):
            part = found[tuple(here)]
            pick(part, values[tuple(there)], out=part)
    return found
