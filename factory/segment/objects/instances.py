"""Instances: the connected components of a foreground, or the foreground inside each box."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from factory.data import Instances
from factory.errors import JobError
from factory.segment.objects.components import number_components
from factory.segment.objects.detectors import Detections
from factory.spec.style_mixing import InstancesSpec

_MOST = 2**16 - 1
"""Ids of a 16-bit PNG; 0 is the background."""

NO_INSTANCE = "no_instance"
"""Reason for rejecting a mask without objects; it stands in receipts and must not change."""


@dataclass(frozen=True, slots=True)
class Box:
    """A detected box, rounded to whole pixels and clipped to the image."""

    rows: slice
    columns: slice
    class_id: int
    score: float


@dataclass(frozen=True, slots=True)
class _Found:
    mask: Bool[np.ndarray, "h w"]
    class_id: int
    score: float


def connected_instances(foreground: Bool[np.ndarray, "h w"], spec: InstancesSpec) -> Instances:
    """One instance per connected component of at least `spec.min_px` pixels, in reading order.

    At most 65,535, the ids of a 16-bit image; the rest is left out.
    """
    labels = number_components(foreground)
    sizes = np.bincount(labels.ravel())
    large = [part for part in range(1, len(sizes)) if sizes[part] >= spec.min_px][:_MOST]
    return _gathered([_Found(labels == part, 0, 1.0) for part in large], foreground.shape)


def boxed_instances(
    image: UInt8[np.ndarray, "h w 3"],
    detections: Detections,
    spec: InstancesSpec,
    divide: Callable[[int, Box], Bool[np.ndarray, "h w"] | None],
) -> Instances:
    """One instance per box, by descending score; where boxes overlap, the higher score owns the pixels.

    `divide` is called with (number of the box, box) and returns the object's pixels as a mask of the
    whole image; None if the box holds no clear foreground.

    Raises:
        JobError: If the detector found a class that has no name.
    """
    height, width = image.shape[:2]
    taken = np.zeros((height, width), dtype=bool)
    found = []
    for number, box in enumerate(_usable(detections, spec, height, width)):
        inside = divide(number, box)
        if inside is None:
            continue
        own = inside & ~taken
        if own.sum() < spec.min_px:
            continue
        taken |= own
        found.append(_Found(own, box.class_id, box.score))
    return _gathered(found, (height, width))


def _usable(found: Detections, spec: InstancesSpec, height: int, width: int) -> list[Box]:
    boxes = []
    # Equal scores in the detector's own order, because NumPy's plain sort is not stable.
    for place in np.lexsort((np.arange(len(found.scores)), -found.scores)):
        score = float(found.scores[place])
        class_id = int(found.class_ids[place]) - spec.class_offset
        if score < spec.min_score:
            break
        if not 0 <= class_id < len(spec.class_names):
            raise JobError(
                f"dataset.segmenter.instances.class_names: the detector found class "
                f"{class_id + spec.class_offset}; there are names for {spec.class_offset} to "
                f"{spec.class_offset + len(spec.class_names) - 1}: name every class, or set "
                "class_offset"
            )
        left, top, right, bottom = found.boxes_xyxy[place]
        rows = slice(max(0, int(np.floor(top))), min(height, int(np.ceil(bottom))))
        columns = slice(max(0, int(np.floor(left))), min(width, int(np.ceil(right))))
        if rows.start < rows.stop and columns.start < columns.stop:
            boxes.append(Box(rows, columns, class_id, min(score, 1.0)))
    return boxes


def _gathered(found: list[_Found], shape: tuple[int, ...]) -> Instances:
    ids: UInt16[np.ndarray, "h w"] = np.zeros(shape, dtype=np.uint16)
    for number, one in enumerate(found, start=1):
        ids[one.mask] = number
    return Instances(
        ids=ids,
        class_ids=tuple(one.class_id for one in found),
        boxes_xyxy=tuple(_box(one.mask) for one in found),
        scores=tuple(round(one.score, 6) for one in found),
        num_px=tuple(int(one.mask.sum()) for one in found),
    )


def _box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
