"""Pixels with the classes that a teacher gives them, image by image."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE
from factory.fit.pixels import fitting_batches
from factory.generate.base import Generator
from factory.identity import counter_rng
from factory.segment.base import AnySegmenter, label_latents
from factory.spec import DatasetSpec, DistilSpec, FitSpec


@dataclass(frozen=True, slots=True)
class Lesson:
    """Some pixels of one image."""

    vectors: Float[Tensor, "p c"]
    """Features as a linear head will see them, the layers' channels side by side."""
    ids: Int64[Tensor, " p"]
    """Class of each pixel."""
    confidence: float
    """The teacher's mean confidence in the whole mask."""


@dataclass(slots=True)
class Lessons:
    """What a teacher had to say."""

    kept: list[Lesson] = field(default_factory=list)
    """In the order of the images."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Masks that the teacher itself disowns, by reason."""


def collect_lessons(
    spec: DistilSpec,
    dataset: DatasetSpec,
    generator: Generator,
    teacher: AnySegmenter,
    layers: tuple[str, ...],
    on_progress: Callable[[int, int], None],
) -> Lessons:
    """Have `teacher` label `spec.samples` images of `generator`, and keep some pixels of each.

    Pixels of no class (255) are left out. `on_progress` is called with (images done, images in all).
    """
    lessons = Lessons()
    fit = FitSpec(num_images=spec.samples, pixels_per_image=spec.pixels_per_image, seed=spec.seed)
    done = 0
    for latents in fitting_batches(generator, dataset, fit):
        batch, labelled = label_latents(generator, teacher, latents, layers)
        for position in range(min(len(latents.indices), spec.samples - done)):
            if labelled.rejections and labelled.rejections[position]:
                lessons.rejected[labelled.rejections[position]] += 1
                continue
            maps = [batch.features[layer][position] for layer in layers]
            rng = counter_rng("pixels", spec.seed, int(latents.indices[position]))
            vectors, ids = _read(maps, labelled.masks[position], spec.pixels_per_image, rng)
            lessons.kept.append(Lesson(vectors, ids, float(labelled.confidence[position])))
        done = min(done + len(latents.indices), spec.samples)
        on_progress(done, spec.samples)
    return lessons


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
    grid = torch.from_numpy(places.astype(np.float32)).to(mask.device)[None, :, None]
    read = [
        functional.grid_sample(part[None].float(), grid, mode="bilinear", align_corners=True)
        for part in maps
    ]
    vectors = torch.cat([part[0, :, :, 0].T for part in read], dim=1).cpu()
    ids = mask.cpu()[torch.from_numpy(rows), torch.from_numpy(columns)].long()
    return vectors[ids != IGNORE], ids[ids != IGNORE]
