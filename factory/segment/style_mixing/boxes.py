"""Instance masks from detected boxes: each box is clustered and segmented by itself, one object each."""

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
"""Minimum number of clustered pixels in a box per cluster: with fewer, clusters are single pixels."""


@dataclass(frozen=True, slots=True)
class BoxDivider:
    """The functions and sizes that turn the colours in a box into a mask."""

    cluster: Callable[[Tensor, int], Tensor]
    """Called with (colours, substream of the random draw): distances to the clusters. Substream 0
    is that of the whole image."""
    divide: Callable[[Tensor, Tensor], Divided]
    """Called with (distances, guide): background and foreground."""
    num_clusters: int
    """Clusters per box."""
    scale: int
    """Image pixels per clustered pixel, in each direction."""


def segment_boxes(
    image: UInt8[Tensor, "h w 3"],
    colours: Float[Tensor, "v 3 s s"],
    detections: Detections,
    spec: InstancesSpec,
    divider: BoxDivider,
) -> tuple[Instances, Float[Tensor, "h w"]]:
    """Segment the objects in the boxes of one image.

    Args:
        image: RGB, uint8, 0 to 255.
        colours: Of the variants, -1 to 1; `s` divides the image's sides.
        detections: Boxes in image pixels.
        spec: Names of the detector's classes, least score and least size.
        divider: How a box is clustered and segmented.

    Returns:
        The objects, and each pixel's confidence, 0 to 1: 1 outside of all boxes.

    Raises:
        JobError: If the detector found a class that has no name.
    """
    pixels = image.cpu().numpy()
    guide = image.permute(2, 0, 1).float() / 255
    # Outside of boxes the answer is background because the detector says so: no doubt of ours.
    confidence = torch.ones_like(guide[0])

    def divide(number: int, box: Box) -> Bool[np.ndarray, "h w"] | None:
        cells = tuple(covering_cells(part, divider.scale) for part in (box.rows, box.columns))
        cut = colours[:, :, cells[0], cells[1]]
        if cut[0, 0].numel() < _LEAST_PER_CLUSTER * divider.num_clusters:
            return None
        around = tuple(slice(p.start * divider.scale, p.stop * divider.scale) for p in cells)
        # Each box has random numbers of its own: a box that is skipped does not shift the next one's.
        distances = divider.cluster(cut, number + 1)
        found = divider.divide(distances, guide[:, around[0], around[1]])
        if found.rejection:
            return None
        confidence[around] = found.confidence
        whole = np.zeros(pixels.shape[:2], dtype=bool)
        whole[around] = found.mask.cpu().numpy() == 1
        inside = np.zeros_like(whole)  # clustered pixels at the edges reach beyond the box
        inside[box.rows, box.columns] = whole[box.rows, box.columns]
        return inside

    return boxed_instances(pixels, detections, spec, divide), confidence


def covering_cells(pixels: slice, scale: int) -> slice:
    """The clustered pixels, each `scale` image pixels wide, that cover a range of image pixels."""
    # Rounded outwards: a box that ends inside a clustered pixel would lose its last rows otherwise.
    return slice(pixels.start // scale, -(-pixels.stop // scale))
