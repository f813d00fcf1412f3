"""The promise of a segmenter.

It names the feature maps it needs before any image is made; equal batches give equal masks; labels
lie below the number of its classes, or are 255 where no class claims the pixel.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from factory.batch import ImageBatch, MaskBatch
from factory.errors import PluginError
from factory.generate.base import GeneratorFacts
from factory.manifest import ClassLabel, CoarserLabels
from factory.segment import SEGMENTERS
from factory.spec import SegmenterSpec


@runtime_checkable
class Segmenter(Protocol):
    """Turns a generator's images and features into masks."""

    labels: tuple[ClassLabel, ...]
    """Classes of the masks; a class's position is its id."""
    layers: tuple[str, ...]
    """Feature maps it needs."""

    def segment(self, batch: ImageBatch) -> MaskBatch:
        """Masks of the images of `batch`."""


@runtime_checkable
class Mergeable(Protocol):
    """A segmenter whose classes can be merged after the masks are made."""

    coarser: tuple[CoarserLabels, ...]
    """Coarser classes, few first."""


def load_segmenter(
    spec: SegmenterSpec, fitted: Path | None, facts: GeneratorFacts, device: torch.device
) -> Segmenter:
    """Build the segmenter that `spec` names for a generator with `facts`.

    A plugin is a class (or function) called with the spec, its fitted file (None if it needs no
    fitting), the generator's facts and the device.

    Raises:
        PluginError: If there is no such plugin, it is not a segmenter, or it needs feature maps
            that the generator does not offer.
    """
    make = SEGMENTERS.load(spec.kind)
    segmenter = make(spec, fitted, facts, device) if callable(make) else make
    if not isinstance(segmenter, Segmenter):
        raise PluginError(
            f"segmenter {spec.kind!r}: {type(segmenter).__name__} is not a segmenter; it needs "
            "labels, layers and segment (see factory/segment/base.py)"
        )
    missing = [name for name in segmenter.layers if name not in facts.layers]
    if missing:
        offered = ", ".join(facts.layers) or "none"
        raise PluginError(
            f"segmenter {spec.kind!r}: needs feature map {missing[0]!r}, the generator offers "
            f"{offered}; fit it on this generator"
        )
    return segmenter
