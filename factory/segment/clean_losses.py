"""What a clean-up takes away from most images: a class, or all objects. Seen in the first images."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.segment.base import (
    AnySegmenter,
    ChangedSegmenter,
    CleanedSegmenter,
    segment_images,
)
from factory.segment.clean import Cleaner
from factory.spec import DatasetSpec

_NUM_IMAGES = 16
_MOST = 0.5
"""A class or object that is gone from a larger share of its images is told."""


def find_losses(dataset: DatasetSpec, generator: Generator, segmenter: AnySegmenter) -> list[str]:
    """What the clean-up of `segmenter` takes away from most of the first images, a line each.

    Empty without a clean-up, for which nothing is computed.
    """
    cleaned = _find_cleaned(segmenter)
    if cleaned is None:
        return []
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    before, after = [], []
    with torch.inference_mode():
        for first in range(0, _NUM_IMAGES, dataset.batch_size):
            latents = sampler.draw(range(first, first + dataset.batch_size))
            batch = generator.generate(latents, tuple(cleaned.layers))
            found = segment_images(cleaned.inner, generator, latents, batch)
            before.append(found.class_px.cpu())
            after.append(cleaned.cleaner.clean(found).class_px.cpu())
    names = [label.name for label in cleaned.labels]
    return describe_losses(
        cleaned.cleaner, names, *(torch.cat(px)[:_NUM_IMAGES] for px in (before, after))
    )


def describe_losses(
    cleaner: Cleaner,
    names: Sequence[str],
    before: Int64[Tensor, "n k"],
    after: Int64[Tensor, "n k"],
) -> list[str]:
    """Which classes are gone from most images that had them, and most of their pixels with them.

    Args:
        cleaner: The clean-up.
        names: Names of the classes.
        before: Pixels of each image and class without the clean-up.
        after: The same with it.
    """
    objects = list(cleaner.objects)
    lost, had = _count_lost(before[:, objects].sum(dim=1), after[:, objects].sum(dim=1))
    lines = []
    classes = list(range(len(names)))
    if lost > _MOST * had:
        lines.append(
            f"`clean` leaves no object at all in {lost} of the first {had} images with one: "
            "lower `min_area`, or choose others of `border_objects`, `smooth` and `classes`"
        )
        classes = [class_id for class_id in classes if class_id not in objects]
    for class_id in classes:
        lost, had = _count_lost(before[:, class_id], after[:, class_id])
        left_px, all_px = int(after[:, class_id].sum()), int(before[:, class_id].sum())
        if lost > _MOST * had and left_px < (1 - _MOST) * all_px:
            lines.append(
                f"`clean` leaves nothing of {names[class_id]} in {lost} of the first {had} images with "
                "it: look at some with `factory preview`, and choose other steps if they lose what "
                "should stay"
            )
    return lines


def _count_lost(before: Int64[Tensor, " n"], after: Int64[Tensor, " n"]) -> tuple[int, int]:
    """Images that have lost it all, and those that had any."""
    had = before > 0
    return int((had & (after == 0)).sum()), int(had.sum())


def _find_cleaned(segmenter: AnySegmenter) -> CleanedSegmenter | None:
    while isinstance(segmenter, ChangedSegmenter):
        if isinstance(segmenter, CleanedSegmenter):
            return segmenter
        segmenter = segmenter.inner
    return None
