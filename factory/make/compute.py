"""Compute samples from a batch of latents: generate, segment, copy to the host."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from factory.data import LatentBatch, Sample, ShardTask
from factory.errors import JobError
from factory.generate.base import Generator
from factory.generate.batch import MaskBatch
from factory.generate.latents import LatentSampler
from factory.manifest.measure import latent_cells
from factory.segment.base import AnySegmenter, generate_and_segment
from factory.spec import DatasetSpec

_RGBA = 4


class BatchMaker:
    """Computes the samples of one dataset, a batch at a time. Thread-safe."""

    def __init__(self, dataset: DatasetSpec, generator: Generator, segmenter: AnySegmenter) -> None:
        """Hold what every batch needs.

        Raises:
            JobError: If the job names classes that the generator does not have, or an encoding that
                cannot hold its images.
        """
        check_encoding(dataset, generator)
        self.dataset = dataset
        self.generator = generator
        self.segmenter = segmenter
        self._sampler = LatentSampler(generator, dataset.latents, dataset.generator)

    def draw(self, indices: Sequence[int], task: ShardTask | None = None) -> LatentBatch:
        """Draw the latents of samples; `task` gives the classes of a round with its own ones."""
        return self._sampler.draw(indices, task)

    def compute(self, first: int, count: int, task: ShardTask | None = None) -> list[Sample]:
        """Compute samples `first` to `first + count - 1` as one batch.

        A batch is padded to full size, because its size changes floating-point sums.
        """
        last = first + count - 1
        indices = [min(first + offset, last) for offset in range(self.dataset.batch_size)]
        by_px = self.dataset.encode.confidence
        latents = self.draw(indices, task)
        return compute_samples(self.generator, self.segmenter, latents, count, by_px=by_px)


def check_encoding(dataset: DatasetSpec, generator: Generator) -> None:
    """Reject a file format that would lose the alpha of the generator's images.

    Raises:
        JobError: If there is one.
    """
    if generator.facts.channels == _RGBA and dataset.encode.image == "jpeg":
        raise JobError(
            where="dataset.encode.image",
            found="found 'jpeg', but the generator's images have alpha, which JPEG cannot hold",
            remedy="use png or webp",
        )


def compute_samples(
    generator: Generator,
    segmenter: AnySegmenter,
    latents: LatentBatch,
    count: int,
    *,
    by_px: bool = False,
) -> list[Sample]:
    """Compute images and masks of `latents` on the device; the first `count` are copied to the host.

    Raises:
        JobError: If confidence is requested `by_px` and the segmenter has none.
    """
    with torch.inference_mode():
        batch, labelled = generate_and_segment(generator, segmenter, latents)
        images = batch.images.cpu().numpy()
        rgba = None if batch.rgba is None else batch.rgba.cpu().numpy()
        masks = labelled.masks.cpu().numpy()
        confidence = labelled.confidence.cpu().tolist()
        class_px = labelled.class_px.cpu().tolist()
        cleaned_px = None if labelled.cleaned_px is None else labelled.cleaned_px.cpu().tolist()
        by_pixel = _confidence_by_px(labelled) if by_px else None
    cells = latent_cells(latents.z)
    return [
        Sample(
            index=int(latents.indices[i]),
            image=images[i],
            rgba=None if rgba is None else rgba[i],
            mask=masks[i],
            class_label=int(latents.class_labels[i]),
            confidence=confidence[i],
            class_px=tuple(class_px[i]),
            latent_cell=int(cells[i]),
            confidence_by_px=None if by_pixel is None else by_pixel[i],
            rejection=labelled.rejections[i] if labelled.rejections else "",
            instances=labelled.instances[i] if labelled.instances else None,
            cleaned_px=None if cleaned_px is None else cleaned_px[i],
        )
        for i in range(count)
    ]


def _confidence_by_px(labelled: MaskBatch) -> UInt8[np.ndarray, "n h w"]:
    if labelled.confidence_by_px is None:
        raise JobError(
            "dataset.encode.confidence: found true, but this segmenter has no confidence by pixel; "
            "leave it out"
        )
    return (labelled.confidence_by_px * 255).round().to(torch.uint8).cpu().numpy()
