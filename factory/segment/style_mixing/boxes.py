"""The boxes of a detector, each clustered and divided by itself: one object per box."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from factory.data import Instances
from factory.segment.objects.detectors import Detections
from factory.segment.objects.instances import Box, boxed_instances
from factory.segment.style_mixing.divide import Divided
from factory.spec.style_mixing import InstancesSpec

_LEAST_PER_CLUSTER = 4
"""Clustered pixels that a box must have for each cluster: with fewer, clusters are single pixels."""


@dataclass(frozen=True, slots=True)
class BoxDivider:
    """How the colours in a box become a mask."""

    cluster: Callable[[Tensor, int], Tensor]
    """Distances to the clusters of (colours, number of the random draw): 0 is the whole image's."""
    divide: Callable[[Tensor, Tensor], Divided]
    """Background and foreground of (distances, guide)."""
    num_clusters: int
    """Clusters of a box."""
    scale: int
    """Rows of the image for each row of the colours."""


def segment_boxes(
    image: UInt8[Tensor, "h w 3"],
    colours: Float[Tensor, "v 3 s s"],
    detections: Detections,
    spec: InstancesSpec,
    divider: BoxDivider,
) -> tuple[Instances, Float[Tensor, "h w"]]:
    """The objects in the boxes of one image, and each pixel's confidence; outside of boxes it is 1.

    Raises:
        JobError: If the detector found a class that has no name.
    """
    pixels = image.cpu().numpy()
    guide = image.permute(2, 0, 1).float() / 255
    confidence = torch.ones_like(guide[0])

    def divide(number: int, box: Box) -> Bool[np.ndarray, "h w"] | None:
        cells = tuple(covering_cells(part, divider.scale) for part in (box.rows, box.columns))
        cut = colours[:, :, cells[0], cells[1]]
        if cut[0, 0].numel() < _LEAST_PER_CLUSTER * divider.num_clusters:
            return None
        around = tuple(slice(p.start * divider.scale, p.stop * divider.scale) for p in cells)
        distances = divider.cluster(cut, number + 1)
        found = divider.divide(distances, guide[:, around[0], around[1]])
        if found.rejection:
            return None
        confidence[around] = found.confidence
        whole = np.zeros(pixels.shape[:2], dtype=bool)
        whole[around] = found.mask.cpu().numpy() == 1
        inside = np.zeros_like(whole)  # whole cells reach beyond the box
        inside[box.rows, box.columns] = whole[box.rows, box.columns]
        return inside

    return boxed_instances(pixels, detections, spec, divide), confidence


def covering_cells(pixels: slice, scale: int) -> slice:
    """The clustered pixels, each `scale` image pixels wide, that cover a range of image pixels."""
    return slice(pixels.start // scale, -(-pixels.stop // scale))
