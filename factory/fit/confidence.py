"""Fit the heads that judge a method's masks: `segment/confidence.py` says what they are for.

Whatever the method, its masks of some images are the labels. No truth is needed: a head cannot repeat
what is wrong with single masks, because other images contradict it.
"""

import tempfile
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext
from factory.fit.logistic import fit_logistic
from factory.fit.teacher_masks import LabelledPixels, collect_labelled_pixels
from factory.generate.base import GeneratorFacts
from factory.segment.base import AnySegmenter, load_segmenter
from factory.segment.confidence import HEADS_PREFIX, head_tensors, log_odds
from factory.segment.segmenter_file import SegmenterFacts, decode_segmenter, encode_segmenter

NUM_IMAGES = 128
"""Images that the heads learn from."""
_PIXELS_PER_IMAGE = 256
_SEED = 2**62
"""Seed of those images: above every seed that a job can give a fit, so that they are always others."""
_FEWEST = 4
"""Masks that each half must have."""


def with_heads(finished: bytes, context: FitContext) -> bytes:
    """The segmenter file `finished`, empty if the method fits nothing, with heads for its masks.

    Raises:
        JobError: If the generator has no feature maps, or too few masks can be used.
        Interrupted: If a stop was requested.
    """
    layers = finest_layers(context.pool.facts)
    segmenter = _unjudged(finished, context)
    num_classes = len(segmenter.labels)
    taught = collect_labelled_pixels(
        context,
        segmenter,
        layers,
        num_images=NUM_IMAGES,
        pixels_per_image=_PIXELS_PER_IMAGE,
        seed=_SEED,
    )
    halves = [_joined(taught.kept[part::2]) for part in range(2) if len(taught.kept) >= 2 * _FEWEST]
    if not halves:
        counts = ", ".join(f"{reason}: {count}" for reason, count in taught.rejected.most_common())
        raise JobError(
            f"dataset.segmenter.confidence: {len(taught.kept)} of {NUM_IMAGES} masks can be used "
            f"(rejected {counts or 'none'}); agreement needs at least {2 * _FEWEST}: loosen the "
            "method's rules, or use margin"
        )
    context.progress.begin("confidence", len(halves))
    rows, biases, curves = [], [], []
    for mine, other in (halves, halves[::-1]):
        weights, bias = fit_logistic(*mine, num_classes)
        rows.append(weights)
        biases.append(bias)
        curves.append(calibrate(weights, bias, *other))
        context.progress.advance(1)
    widths = [context.pool.facts.layers[layer].channels for layer in layers]
    blocks = torch.split(torch.cat(rows), widths, dim=1)
    heads = head_tensors(
        dict(zip(layers, blocks, strict=True)), torch.cat(biases), torch.stack(curves)
    )
    tensors, facts = (
        decode_segmenter(finished, source="the fit")
        if finished
        else ({}, _facts(context, segmenter))
    )
    return encode_segmenter(tensors | heads, facts)


def without_heads(data: bytes) -> tuple[dict[str, Tensor], SegmenterFacts]:
    """What a segmenter file holds beside heads that judge its masks.

    Raises:
        JobError: If it is no segmenter file.
    """
    tensors, facts = decode_segmenter(data, source="the segmenter file")
    return {n: t for n, t in tensors.items() if not n.startswith(HEADS_PREFIX)}, facts


def finest_layers(facts: GeneratorFacts) -> tuple[str, ...]:
    """The feature maps of the highest resolution.

    Raises:
        JobError: If the generator has none.
    """
    if not facts.layers:
        raise JobError(
            "dataset.segmenter.confidence: found agreement, but this generator offers no feature maps "
            "for a head to read; use margin"
        )
    finest = max(shape.height for shape in facts.layers.values())
    return tuple(name for name, shape in facts.layers.items() if shape.height == finest)


def calibrate(
    weights: Float[Tensor, "k c"],
    bias: Float[Tensor, " k"],
    vectors: Float[Tensor, "p c"],
    ids: Int64[Tensor, " p"],
) -> Float[Tensor, "k 2"]:
    """Slope and offset of each class's log-odds, from pixels of images that the head has not seen.

    With them, of all pixels to which the head gives a class with probability p, the share p has it.
    Platt 1999, "Probabilistic outputs for support vector machines", section 2.
    """
    odds = log_odds(torch.addmm(bias, vectors, weights.T).log_softmax(dim=1))
    curves = []
    for label in range(len(bias)):
        # One pixel more of each kind: a class without a pixel, or without doubt, has no finite slope.
        column = torch.cat([odds[:, label], odds.new_zeros(2)])[:, None]
        has_it = torch.cat([(ids == label).long(), ids.new_tensor([0, 1])])
        found, offset = fit_logistic(column, has_it, 2)
        slope = (found[1, 0] - found[0, 0]).clamp(min=0)  # never against the head itself
        curves.append(torch.stack([slope, offset[1] - offset[0]]))
    return torch.stack(curves)


def _unjudged(finished: bytes, context: FitContext) -> AnySegmenter:
    """The segmenter with the confidence that it has by itself."""
    spec = context.dataset.segmenter.model_copy(update={"confidence": "margin"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segmenter.safetensors"
        path.write_bytes(finished)
        fitted = path if finished else None
        return load_segmenter(spec, fitted, context.pool.facts, context.pool.device)


def _facts(context: FitContext, segmenter: AnySegmenter) -> SegmenterFacts:
    """The facts of a file that holds heads alone."""
    return SegmenterFacts(
        kind=context.dataset.segmenter.kind,
        generator_kind=context.dataset.generator.kind,
        weights_sha256=context.weights.sha256,
        layers=[],
        labels=list(segmenter.labels),
        margin_scale=1.0,
        fitted_on={},
    )


def _joined(images: list[LabelledPixels]) -> tuple[Tensor, Tensor]:
    return torch.cat([image.vectors for image in images]), torch.cat(
        [image.ids for image in images]
    )
