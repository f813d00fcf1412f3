"""Toy generators of which one can tell what they were asked for, batch by batch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from factory.data import LatentBatch
from factory.generate.batch import ImageBatch
from factory.generate.shapes import ShapesGenerator
from factory.spec import GeneratorSpec


class Neighbourly(ShapesGenerator):
    """`shapes` on a machine where the rest of the batch moves the last digits, as on a GPU.

    The first pixel of every image is a sum over the indices of its batch, so a sample that is made in
    another batch comes out different.
    """

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        super().__init__(spec, weights, device)
        self.batches: list[list[int]] = []

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        self.batches.append(latents.indices.tolist())
        batch = super().generate(latents, layers)
        images = batch.images.clone()
        images[:, 0, 0, 0] = int((latents.indices * range(1, 1 + len(latents.indices))).sum()) % 251
        return replace(batch, images=images)


class Classed(ShapesGenerator):
    """`shapes` that says it has three classes; they change nothing."""

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        super().__init__(spec, weights, device)
        self.facts = replace(self.facts, num_classes=3, class_names=("red", "green", "blue"))


class Sick(ShapesGenerator):
    """`shapes` that fails at sample 5, until it is cured."""

    cured = False
    num_failed = 0

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        if 5 in latents.indices and not Sick.cured:
            Sick.num_failed += 1
            raise ZeroDivisionError("at sample 5")
        return super().generate(latents, layers)


class Overflowing(ShapesGenerator):
    """`shapes` whose features hold a NaN in each image."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        batch = super().generate(latents, layers)
        features = {name: maps.clone() for name, maps in batch.features.items()}
        for maps in features.values():
            maps[:, 0, 1, 2] = torch.nan
        return replace(batch, features=features)


class Blank(ShapesGenerator):
    """`shapes` with saturated colours: all images are white, all features are good."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        batch = super().generate(latents, layers)
        return replace(batch, images=torch.full_like(batch.images, 255))
