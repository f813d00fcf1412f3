"""Draw what tools store as outlines and run lengths into masks, with every size bounded beforehand."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from factory.data import IGNORE

MOST_POINTS = 10_000
"""Points of one outline."""

MOST_SHAPES = 10_000
"""Shapes of one picture."""

_MOST_COORDINATE = 2.0**20

_MOST_CHARACTERS = 7
"""Of one compressed run length."""


class Canvas:
    """The mask of one picture while it is drawn; what nothing covers is not painted (255)."""

    def __init__(self, side: int) -> None:
        """Start with nothing painted."""
        self.mask: UInt8[np.ndarray, "h w"] = np.full((side, side), IGNORE, dtype=np.uint8)
        self._num_shapes = 0

    def paint(self, where: Bool[np.ndarray, "h w"], class_id: int) -> None:
        """Give the pixels `where` a class; what was there is painted over.

        Raises:
            ValueError: If there are too many shapes.
        """
        self._count()
        self.mask[where] = class_id

    def _count(self) -> None:
        self._num_shapes += 1
        if self._num_shapes > MOST_SHAPES:
            raise ValueError(f"has more than {MOST_SHAPES:,} shapes in one picture")

    def polygons(self, outlines: Sequence[object]) -> Bool[np.ndarray, "h w"]:
        """The pixels inside any of several outlines, as JSON has them; each counts as a shape.

        Raises:
            ValueError: If one is no outline, or there are too many shapes.
        """
        inside: np.ndarray = np.zeros(self.mask.shape, dtype=bool)
        for outline in outlines:
            self._count()
            inside |= self.polygon(read_points(outline))
        return inside

    def polygon(self, points: Float64[np.ndarray, "p 2"]) -> Bool[np.ndarray, "h w"]:
        """The pixels whose centres are inside an outline (even-odd rule).

        `points` are (x, y) in pixels from the picture's upper left corner, 3 or more. Outlines may leave
        the picture.
        """
        side = len(self.mask)
        toggles = np.zeros((side, side + 1), dtype=bool)
        ends = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
        falls = ends[:, 0, 1] > ends[:, 1, 1]
        ends[falls] = ends[falls][:, ::-1]
        # The rows whose centres an edge crosses: half open, so that a vertex counts for one edge only.
        first, last = np.clip(np.ceil(ends[..., 1] - 0.5), 0, side).astype(np.int64).T
        spans = np.maximum(last - first, 0)
        edge = np.repeat(np.arange(len(ends)), spans)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(spans) - spans, spans) + first[edge]
        (x, y), (low_x, low_y) = ends[edge, 0].T, ends[edge, 1].T
        crossing = x + (rows + 0.5 - y) * (low_x - x) / (low_y - y)
        columns = np.clip(np.ceil(crossing - 0.5), 0, side).astype(np.int64)
        np.logical_xor.at(toggles, (rows, columns), np.True_)
        inside: np.ndarray = np.logical_xor.accumulate(toggles, axis=1)[:, :side]
        return inside

    def column_runs(self, counts: Sequence[int]) -> Bool[np.ndarray, "h w"]:
        """The pixels of COCO's run lengths: down the columns, unset ones first.

        Raises:
            ValueError: If they do not add up to the picture.
        """
        side = len(self.mask)
        return self._runs(counts, side * side).reshape(side, side).T

    def box_runs(self, counts: Sequence[int], box: tuple[int, int, int, int]) -> np.ndarray:
        """The pixels of CVAT's run lengths: along the rows of a box (left, top, width, height).

        Raises:
            ValueError: If the box leaves the picture, or they do not add up to it.
        """
        left, top, width, height = box
        side = len(self.mask)
        if min(left, top) < 0 or min(width, height) < 1 or max(left + width, top + height) > side:
            raise ValueError(f"has a mask at {box}, outside of its picture of {side} px")
        where = np.zeros((side, side), dtype=bool)
        inside = self._runs(counts, width * height).reshape(height, width)
        where[top : top + height, left : left + width] = inside
        return where

    def _runs(self, counts: Sequence[int], num_px: int) -> Bool[np.ndarray, " p"]:
        if len(counts) > num_px + 1 or any(
            type(count) is not int or not 0 <= count <= num_px for count in counts
        ):
            raise ValueError("has run lengths that are no counts of pixels")
        if sum(counts) != num_px:
            raise ValueError(f"has run lengths of {sum(counts)} pixels, where {num_px} are covered")
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts)


def read_points(value: object, scale: float = 1.0) -> Float64[np.ndarray, "p 2"]:
    """An outline from JSON: pairs of numbers, or one flat list of them.

    Raises:
        ValueError: If it is anything else, or has fewer than 3 points.
    """
    pairs = value if isinstance(value, list) else []
    if pairs and not isinstance(pairs[0], list):
        pairs = [pairs[at : at + 2] for at in range(0, len(pairs), 2)]
    if not 3 <= len(pairs) <= MOST_POINTS:
        raise ValueError(f"has an outline of {len(pairs)} points; 3 to {MOST_POINTS:,} make one")
    numbers = [
        float(number)
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2
        for number in pair
        if type(number) in (int, float) and abs(number) <= _MOST_COORDINATE
    ]
    if len(numbers) != 2 * len(pairs):
        raise ValueError("has an outline that is no list of points (x, y)")
    return np.array(numbers, dtype=np.float64).reshape(-1, 2) * scale


def decode_coco_text(text: str, num_px: int) -> list[int]:
    """COCO's compressed run lengths of `num_px` pixels: 5 bits a character, later ones as differences.

    Raises:
        ValueError: If it is no such text.
    """
    if len(text) > _MOST_CHARACTERS * (num_px + 1):
        raise ValueError("has compressed run lengths that are longer than their picture")
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("has compressed run lengths that are damaged")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # the sign bit of the last group
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("has compressed run lengths that are cut short")
    return counts
