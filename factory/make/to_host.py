"""A batch on the device becomes samples on the host."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from factory.data import LatentBatch, Sample
from factory.errors import JobError, ShardError
from factory.generate.batch import ImageBatch, MaskBatch
from factory.make.device_counts import count_on_device, to_pixel_counts
from factory.make.host_copy import start_copies
from factory.manifest.measure import latent_cells
from factory.spec import EncodeSpec

_PLAIN = EncodeSpec()

PendingSamples = Callable[[], list[Sample]]
"""Waits for the copies of a batch, and returns its samples."""


def to_samples(
    batch: ImageBatch,
    labelled: MaskBatch,
    latents: LatentBatch,
    count: int,
    encode: EncodeSpec = _PLAIN,
) -> list[Sample]:
    """Copy the first `count` samples of a batch to the host.

    Raises:
        JobError: If `encode` asks for confidence or alpha by pixel, and the segmenter has none.
        ShardError: If the confidence of a mask is NaN or infinite.
    """
    return start_samples(batch, labelled, latents, count, encode)()


def start_samples(
    batch: ImageBatch,
    labelled: MaskBatch,
    latents: LatentBatch,
    count: int,
    encode: EncodeSpec = _PLAIN,
) -> PendingSamples:
    """As `to_samples`, without waiting: another thread may, while this one goes on."""
    with torch.inference_mode():
        is_counted = batch.images.device.type == "cuda"
        wait = start_copies(
            {
                "images": batch.images,
                "rgba": batch.rgba,
                "masks": labelled.masks,
                "confidence": labelled.confidence,
                "class_px": labelled.class_px,
                "cleaned_px": labelled.cleaned_px,
                "agreement": labelled.agreement,
                "by_pixel": _confidence_by_px(labelled) if encode.confidence else None,
                "alpha": _alpha_by_px(labelled) if encode.alpha else None,
                "counts": count_on_device(batch.images, labelled.masks) if is_counted else None,
            }
        )
    return lambda: _samples_of(wait(), labelled, latents, count)


def _samples_of(
    found: Mapping[str, np.ndarray], labelled: MaskBatch, latents: LatentBatch, count: int
) -> list[Sample]:
    confidence, class_px = found["confidence"].tolist(), found["class_px"].tolist()
    _check_finite(confidence[:count], latents)
    cleaned_px, agreement = (
        found[name].tolist() if name in found else None for name in ("cleaned_px", "agreement")
    )
    rgba, by_pixel, alpha = (found.get(name) for name in ("rgba", "by_pixel", "alpha"))
    counts = to_pixel_counts(found["counts"]) if "counts" in found else None
    cells = latent_cells(latents.z)
    return [
        Sample(
            index=int(latents.indices[i]),
            image=found["images"][i],
            rgba=None if rgba is None else rgba[i],
            mask=found["masks"][i],
            class_label=int(latents.class_labels[i]),
            confidence=confidence[i],
            class_px=tuple(class_px[i]),
            latent_cell=int(cells[i]),
            confidence_by_px=None if by_pixel is None else by_pixel[i],
            alpha_by_px=None if alpha is None else alpha[i],
            rejection=labelled.rejections[i] if labelled.rejections else "",
            instances=labelled.instances[i] if labelled.instances else None,
            cleaned_px=None if cleaned_px is None else cleaned_px[i],
            agreement=None if agreement is None else agreement[i],
            counts=None if counts is None else counts[i],
        )
        for i in range(count)
    ]


def _check_finite(confidence: Sequence[float], latents: LatentBatch) -> None:
    """Refuse masks of feature maps with NaN in them: of such scores some class is always the best."""
    for place, share in enumerate(confidence):
        if not math.isfinite(share):
            raise ShardError(
                where=f"sample {int(latents.indices[place]):09d}",
                found=f"its mask has the confidence {share}: there are numbers in its feature maps that "
                "are NaN, infinite, or too large",
                remedy="with dataset.generator.precision: float16, try bfloat16 or float32; otherwise "
                "choose other layers for the segmenter",
            )


def _confidence_by_px(labelled: MaskBatch) -> UInt8[Tensor, "n h w"]:
    if labelled.confidence_by_px is None:
        raise JobError(
            "dataset.encode.confidence: found true, but this segmenter has no confidence by pixel; "
            "leave it out"
        )
    return _bytes(labelled.confidence_by_px)


def _alpha_by_px(labelled: MaskBatch) -> UInt8[Tensor, "n h w"]:
    if labelled.alpha is None:
        raise JobError(
            "dataset.encode.alpha: found true, but this segmenter has masks without soft edges; leave "
            "it out"
        )
    return _bytes(labelled.alpha)


def _bytes(shares: Float[Tensor, "n h w"]) -> UInt8[Tensor, "n h w"]:
    """Shares from 0 to 1 as bytes."""
    return (shares * 255).round().to(torch.uint8)
