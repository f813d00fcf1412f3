"""Collect pixels labelled by a teacher, image by image."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from factory.data import IGNORE
from factory.fit.context import FitContext
from factory.fit.pixels.sampling import fitting_batch, read_places
from factory.identity import counter_rng
from factory.segment.base import AnySegmenter, generate_and_segment


@dataclass(frozen=True, slots=True)
class LabelledPixels:
    """Some pixels of one image."""

    vectors: Float[Tensor, "p c"]
    """Features as a linear head will see them, the layers' channels side by side."""
    ids: Int64[Tensor, " p"]
    """Class of each pixel."""
    confidence: float
    """The teacher's mean confidence in the whole mask."""


@dataclass(slots=True)
class TeacherPixels:
    """Pixels labelled by a teacher, and the number of masks that it rejected."""

    kept: list[LabelledPixels] = field(default_factory=list)
    """In the order of the images."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Masks that the teacher rejected, by reason."""


def collect_labelled_pixels(
    context: FitContext,
    teacher: AnySegmenter,
    layers: tuple[str, ...],
    *,
    num_images: int,
    pixels_per_image: int,
    seed: int,
) -> TeacherPixels:
    """Have `teacher` label `num_images` images of the generator, and keep some pixels of each.

    Pixels of no class (255) are left out.

    Raises:
        Interrupted: If a stop was requested.
    """
    collected = TeacherPixels()
    size = context.dataset.batch_size
    context.progress.begin("labelling", num_images)
    for batch_index in range(math.ceil(num_images / size)):
        latents = fitting_batch(context.generator, context.dataset, seed, batch_index)
        batch, labelled = generate_and_segment(context.generator, teacher, latents, layers)
        count = min(size, num_images - batch_index * size)
        for position in range(count):
            if labelled.rejections and labelled.rejections[position]:
                collected.rejected[labelled.rejections[position]] += 1
                continue
            maps = [batch.features[layer][position] for layer in layers]
            rng = counter_rng("pixels", seed, int(latents.indices[position]))
            vectors, ids = _read(maps, labelled.masks[position], pixels_per_image, rng)
            collected.kept.append(
                LabelledPixels(vectors, ids, float(labelled.confidence[position]))
            )
        context.progress.advance(count)
    return collected


def _read(
    maps: list[Float[Tensor, "_c _h _w"]],
    mask: UInt8[Tensor, "h w"],
    count: int,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "p c"], Int64[Tensor, " p"]]:
    """Features and classes at random pixels, on the host; corners aligned, as the head reads them."""
    height, width = mask.shape
    rows, columns = rng.integers(height, size=count), rng.integers(width, size=count)
    places = np.stack([columns * 2 / (width - 1) - 1, rows * 2 / (height - 1) - 1], axis=1)
    where = torch.from_numpy(places.astype(np.float32)).to(mask.device)
    vectors = torch.cat([read_places(part, where) for part in maps], dim=1).cpu()
    ids = mask.cpu()[torch.from_numpy(rows), torch.from_numpy(columns)].long()
    return vectors[ids != IGNORE], ids[ids != IGNORE]
