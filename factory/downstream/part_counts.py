"""Pixel counts of answers by picture and part, and the figures that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8

from factory.data import IGNORE
from factory.downstream.intervals import Figure, figure_of, mean_of, mean_rounds, ratio_rounds
from factory.downstream.model_scores import PartScores
from factory.downstream.scored_classes import ScoredClasses
from factory.downstream.scoring import count_overlaps, near_borders


@dataclass(frozen=True, slots=True)
class PictureCounts:
    """Counts of one picture: pixels in both masks, in the answer and in the truth, by part."""

    key: str
    """The picture's name."""
    whole: Int64[np.ndarray, "p 3"]
    """All pixels."""
    trimap: Int64[np.ndarray, "p 3"]
    """Those near the part's true border."""
    num_right: int
    """Pixels with the right class."""
    num_px: int
    """Pixels with a true class."""

    def ious(self) -> Float[np.ndarray, " p"]:
        """IoU by part; NaN where neither mask shows it."""
        return _ious(self.whole)


def count_picture(
    key: str,
    answer: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "h w"],
    parts: Sequence[tuple[int, ...]],
    trimap_px: int,
) -> PictureCounts:
    """Count an answer's pixels against the truth; 255 in the truth is left out, in the answer wrong."""
    whole: list[tuple[int, ...]] = []
    trimap: list[tuple[int, ...]] = []
    for ids in parts:
        true = np.isin(truth, ids).astype(np.uint8)
        true[truth == IGNORE] = IGNORE
        mine = np.isin(answer, ids).astype(np.uint8)
        near = near_borders(true, trimap_px)
        for rows, inside in ((whole, None), (trimap, near)):
            found = count_overlaps(mine, true, 2, inside)
            rows.append((found.both[1], found.predicted[1], found.true[1]))
    known = truth != IGNORE
    right = int(((answer == truth) & known).sum())
    return PictureCounts(key, np.array(whole), np.array(trimap), right, int(known.sum()))


class Tally:
    """The counts of all pictures, and their figures."""

    def __init__(
        self,
        rows: Sequence[PictureCounts],
        classes: ScoredClasses,
        weights: Int64[np.ndarray, "r n"],
    ) -> None:
        """Take the counts of the pictures; `weights` are the bootstrap's."""
        self._classes, self._weights = classes, weights
        self._names = list(classes.parts)
        self._whole = np.stack([row.whole for row in rows]).astype(np.float64)
        self._trimap = np.stack([row.trimap for row in rows]).astype(np.float64)
        self.accuracy = figure_of(
            mean_rounds(np.array([[_share(row.num_right, row.num_px)] for row in rows]), weights)[
                :, 0
            ]
        )

    def parts(self) -> tuple[PartScores, ...]:
        """The scores of every part."""
        shown = (self._whole[..., 1] + self._whole[..., 2] > 0).sum(axis=0)
        true = (self._whole[..., 2] > 0).sum(axis=0)
        columns = {
            "iou": self._mean(_ious(self._whole)),
            "iou_global": self._ratio(self._whole, is_dice=False),
            "dice": self._mean(_dices(self._whole)),
            "dice_global": self._ratio(self._whole, is_dice=True),
            "trimap": self._mean(_ious(self._trimap)),
            "trimap_global": self._ratio(self._trimap, is_dice=False),
        }
        return tuple(
            PartScores(
                name=name,
                classes=tuple(self._classes.names[k] for k in self._classes.parts[name]),
                num_pictures=int(shown[place]),
                num_true=int(true[place]),
                **{figure: figure_of(rounds[:, place]) for figure, rounds in columns.items()},
            )
            for place, name in enumerate(self._names)
        )

    def miou(self, *, is_global: bool, background: bool, trimap: bool = False) -> Figure:
        """Mean IoU over the classes, without the unions."""
        counts = self._trimap if trimap else self._whole
        rounds = self._ratio(counts, is_dice=False) if is_global else self._mean(_ious(counts))
        ground = self._classes.names[self._classes.background]
        places = [
            place
            for place, name in enumerate(self._names)
            if name in self._classes.names and (background or name != ground)
        ]
        return figure_of(mean_of(rounds[:, places]))

    def _mean(self, values: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "r p"]:
        return mean_rounds(values, self._weights)

    def _ratio(self, counts: Float[np.ndarray, "n p 3"], *, is_dice: bool) -> np.ndarray:
        both, mine, true = counts[..., 0], counts[..., 1], counts[..., 2]
        if is_dice:
            return ratio_rounds(2 * both, mine + true, self._weights)
        return ratio_rounds(both, mine + true - both, self._weights)


def _ious(counts: np.ndarray) -> np.ndarray:
    both, either = counts[..., 0], counts[..., 1] + counts[..., 2] - counts[..., 0]
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def _dices(counts: np.ndarray) -> np.ndarray:
    both, total = counts[..., 0], counts[..., 1] + counts[..., 2]
    return np.where(total > 0, 2 * both / np.maximum(total, 1), np.nan)


def _share(count: int, total: int) -> float:
    return count / total if total else np.nan
