"""What an edit changed, inside of the painted region and outside."""

import numpy as np
import torch
from jaxtyping import UInt8

from factory.data import IGNORE, EditFigures
from factory.edit.objective import mean_iou


def measure_edit(
    images: tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]],
    masks: tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]],
    painted: UInt8[np.ndarray, "h w"],
) -> EditFigures:
    """Measure what changed from the first to the second of `images` and `masks`.

    `painted` is 255 where nothing is painted; what was painted as it was already counts as outside.
    """
    is_painted = painted != IGNORE
    inside = is_painted & (painted != masks[0])
    change = np.abs(images[1].astype(np.int16) - images[0]).mean(axis=2)
    agreeing = [_mean((mask == painted)[is_painted]) for mask in masks]
    ious = [_iou(mask, painted) for mask in masks]
    return EditFigures(
        painted_px=int(inside.sum()),
        painted_before=agreeing[0],
        painted_after=agreeing[1],
        painted_iou_before=ious[0],
        painted_iou_after=ious[1],
        inside_change=_mean(change[inside]),
        outside_change=_mean(change[~inside]),
        outside_class_change=_mean((masks[0] != masks[1])[~inside]),
    )


def _iou(mask: UInt8[np.ndarray, "h w"], painted: UInt8[np.ndarray, "h w"]) -> float:
    found, wanted = (torch.from_numpy(one.astype(np.int64))[None] for one in (mask, painted))
    return round(float(mean_iou(found, wanted, IGNORE)), 6)


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 6) if values.size else 0.0
