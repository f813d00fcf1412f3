"""Clean-up of masks: smooth outlines, no holes or specks, one object, none that the border cuts.

An object is a connected part of the mask's object classes together (4 neighbours). What is taken away
from it becomes the ground around it, so that the mask stays whole: a red cell's rim that was called
cytoplasm becomes red cell. Smoothing runs on the device, parts are found on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE
from factory.errors import JobError
from factory.generate.batch import MaskBatch
from factory.manifest.labels import MaskClass, find_classes
from factory.segment.mask_figures import count_px, mean_of_claimed
from factory.segment.objects.components import number_components
from factory.spec.clean import CleanSpec


@dataclass(frozen=True, slots=True)
class Cleaner:
    """A `CleanSpec` for masks with certain classes."""

    spec: CleanSpec
    """What is done."""
    objects: tuple[int, ...]
    """Ids of the classes that make up the objects."""
    num_classes: int
    """Classes of the masks."""

    def clean(self, found: MaskBatch) -> MaskBatch:
        """`found` with clean masks, and for each the number of pixels that changed.

        Pixels that no class claims (255) stay so, and belong to no object. A pixel keeps the confidence
        that it had in its first class; where it is ignored now it has none.
        """
        smooth = smooth_masks(found.masks, self.spec.smooth, self.num_classes)
        hosted = smooth.cpu().numpy()
        cleaned = torch.from_numpy(np.stack([self.clean_parts(mask) for mask in hosted]))
        masks = cleaned.to(found.masks.device)
        confidence, by_px = _confidence(found, masks)
        return replace(
            found,
            masks=masks,
            confidence=confidence,
            class_px=count_px(masks, self.num_classes),
            confidence_by_px=by_px,
            cleaned_px=(masks != found.masks).sum(dim=(1, 2)),
        )

    def clean_parts(self, mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """One mask after all steps but smoothing."""
        spec = self.spec
        mask = mask.copy()
        if spec.fill_holes:
            self._fill_holes(mask)
        parts = number_components(self._is_object(mask))
        # 0 stands for "not an object" from here on, so that a part's number is its place in `sizes`.
        sizes = np.bincount(parts.ravel())
        stays = np.ones(len(sizes), dtype=bool)
        at_border = np.zeros(len(sizes), dtype=bool)
        if spec.border_objects != "keep":
            at_border[_border(parts)] = True
            at_border[0] = False
            stays &= ~at_border
        stays &= sizes >= spec.min_area
        stays[0] = False
        if spec.keep != "all" and stays.any():
            stays &= np.arange(len(sizes)) == _chosen(parts, sizes, stays, spec.keep)
        stays[0] = True
        if spec.border_objects == "ignore":
            mask[at_border[parts]] = IGNORE
            stays |= at_border
        _recolour(mask, np.where(stays[parts], 0, parts))
        return mask

    def _is_object(self, mask: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        return np.isin(mask, self.objects)

    def _fill_holes(self, mask: UInt8[np.ndarray, "h w"]) -> None:
        # Unclaimed pixels are part of a hole's area, or one of them would leave its ground open; they
        # are not filled, because nothing says what they are.
        holes = number_components(~self._is_object(mask))
        open_ = np.zeros(int(holes.max()) + 1, dtype=bool)
        open_[_border(holes)] = True
        _recolour(mask, np.where(open_[holes] | (mask == IGNORE), 0, holes))


def make_cleaner(spec: CleanSpec, labels: Sequence[MaskClass]) -> Cleaner:
    """The clean-up that `spec` asks for, for masks with the classes `labels`.

    Raises:
        JobError: If a class is unknown, named twice, or if no class is left for the ground.
    """
    where = "dataset.segmenter.clean.classes"
    if spec.classes is None:
        objects = list(range(1, len(labels)))
    else:
        objects = find_classes(spec.classes, labels, where=where)
    twice = next((written for written in objects if objects.count(written) > 1), None)
    if twice is not None:
        raise JobError(f"{where}: found class {labels[twice].name} twice; leave one of them out")
    if len(objects) == len(labels):
        raise JobError(
            f"{where}: found all {len(labels)} classes of the segmenter; leave out those that are ground"
        )
    return Cleaner(spec, tuple(objects), len(labels))


def smooth_masks(
    masks: UInt8[Tensor, "n h w"], radius: int, num_classes: int
) -> UInt8[Tensor, "n h w"]:
    """The most frequent class in the square of `radius` pixels around each pixel; a tie keeps its own.

    Unclaimed pixels stay unclaimed and do not count.
    """
    if radius == 0:
        return masks
    most = torch.zeros(masks.shape, dtype=torch.float32, device=masks.device)
    winner = masks.clone()
    own = torch.zeros_like(most)
    side = 2 * radius + 1
    # One class at a time: 255 maps at once would take a hundred times the memory of the masks. Sums
    # of zeros and ones below 2^24 are exact in float32, on every device.
    for label in range(num_classes):
        is_label = masks == label
        count = functional.avg_pool2d(
            is_label.float()[:, None], side, stride=1, padding=radius, divisor_override=1
        )[:, 0]
        own = torch.where(is_label, count, own)
        winner = torch.where(count > most, label, winner)
        most = torch.maximum(most, count)
    changes = (most > own) & (masks != IGNORE)
    return torch.where(changes, winner, masks)


def _confidence(
    found: MaskBatch, masks: UInt8[Tensor, "n h w"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n h w"] | None]:
    """Confidence of masks and pixels, without the pixels that are ignored now."""
    by_px = found.confidence_by_px
    if by_px is None or not ((masks == IGNORE) & (found.masks != IGNORE)).any():
        return found.confidence, by_px
    return mean_of_claimed(by_px, masks != IGNORE)


def _border(parts: Int64[np.ndarray, "h w"]) -> Int64[np.ndarray, " p"]:
    """The numbers in the outermost rows and columns."""
    return np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))


def _chosen(
    parts: Int64[np.ndarray, "h w"],
    sizes: Int64[np.ndarray, " p"],
    stays: Bool[np.ndarray, " p"],
    keep: str,
) -> int:
    """The one part to keep: the largest, or the nearest to the centre (of two such the larger)."""
    candidates = np.flatnonzero(stays)
    distance = np.zeros(len(candidates))
    if keep == "central":
        rows, columns = np.indices(parts.shape)
        height, width = parts.shape
        # Twice the offset from the centre keeps whole numbers: no rounding decides between two parts.
        squared = (2 * rows - height + 1) ** 2 + (2 * columns - width + 1) ** 2
        nearest = np.full(len(sizes), np.iinfo(np.int64).max)
        np.minimum.at(nearest, parts.ravel(), squared.ravel())
        distance = nearest[candidates]
    order = np.lexsort((candidates, -sizes[candidates], distance))
    return int(candidates[order[0]])


def _recolour(mask: UInt8[np.ndarray, "h w"], parts: Int64[np.ndarray, "h w"]) -> None:
    """Give each part (numbers from 1) of `mask` the class most of its neighbours outside have.

    Of equally many the lower class. A part without any such neighbour becomes unclaimed.
    """
    if not parts.any():
        return
    counts = np.zeros((int(parts.max()) + 1, IGNORE + 1), dtype=np.int64)
    for inner, outer in _neighbours():
        part, outside = parts[inner], parts[outer] == 0
        here = (part > 0) & outside
        np.add.at(counts, (part[here], mask[outer][here]), 1)
    counts[:, IGNORE] = 0
    classes = counts.argmax(axis=1)
    classes[counts.sum(axis=1) == 0] = IGNORE
    inside = parts > 0
    mask[inside] = classes[parts[inside]]


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Pairs of views in which a pixel of the first lies beside that of the second."""
    first, last, every = slice(None, -1), slice(1, None), slice(None)
    down, right = ((first, every), (last, every)), ((every, first), (every, last))
    return [down, down[::-1], right, right[::-1]]
