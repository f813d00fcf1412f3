"""Compute samples from a batch of latents: generate, segment, copy to the host."""

import numpy as np
import torch
from jaxtyping import UInt8

from factory.data import LatentBatch, Sample
from factory.errors import JobError
from factory.generate.base import Generator
from factory.generate.batch import MaskBatch
from factory.manifest.measure import latent_cells
from factory.segment.base import AnySegmenter, label_latents


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
        batch, labelled = label_latents(generator, segmenter, latents)
        images = batch.images.cpu().numpy()
        masks = labelled.masks.cpu().numpy()
        confidence = labelled.confidence.cpu().tolist()
        class_px = labelled.class_px.cpu().tolist()
        by_pixel = _confidence_by_px(labelled) if by_px else None
    cells = latent_cells(latents.z)
    return [
        Sample(
            index=int(latents.indices[i]),
            image=images[i],
            mask=masks[i],
            class_label=int(latents.class_labels[i]),
            confidence=confidence[i],
            class_px=tuple(class_px[i]),
            latent_cell=int(cells[i]),
            confidence_by_px=None if by_pixel is None else by_pixel[i],
            rejection=labelled.rejections[i] if labelled.rejections else "",
            instances=labelled.instances[i] if labelled.instances else None,
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
