"""Turn an extractor that LinearGAN's authors released into a head for this package's feature maps.

Two programs number the feature maps of a generator differently. LinearGAN's has one entry for each
convolution of a StyleGAN2, from the one at 4x4 on, and for StyleGAN and PGGAN one entry for each
resolution. KLiSH's fork has the learned constant first, so that every number is shifted by one, and two
entries for each resolution. The channels of the layers (`dims`) tell which list a file goes by.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from factory.checkpoint.extractor import Extractor, read_extractor
from factory.errors import JobError
from factory.fit.annotations.classes import make_labels
from factory.fit.context import FitContext
from factory.fit.lse import LinearLayers, make_layer_weights
from factory.fit.pixels.sampling import fitting_batch
from factory.generate.base import GeneratorFacts
from factory.manifest.labels import MaskClass
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import weight_name
from factory.spec.linear import LinearSpec

_CONSTANT = ""
"""Stands for the learned constant in a list of feature maps: every image has the same one."""

_ONE_PER_RESOLUTION = ("stylegan1", "pggan")


def take_released(spec: LinearSpec, context: FitContext) -> bytes:
    """The segmenter file of the extractor that `spec` names.

    Raises:
        JobError: If it does not fit the generator's feature maps, or the job's classes.
        WeightsError: If the file is no whole linear extractor.
    """
    assert spec.extractor is not None  # what `fit_linear` looks at first
    path = Path(spec.extractor)
    found, facts = read_extractor(path), context.pool.facts
    layers = find_maps(found, facts, context.dataset.generator.kind, spec, str(path))
    factors = make_layer_weights(found.layer_numbers, found.weighting)
    blocks = [block * factor for block, factor in zip(found.blocks, factors, strict=True)]
    bias = torch.zeros(len(blocks[0]))
    for one, factor in zip(found.biases, factors, strict=False):
        bias += one * factor
    tensors = dict(zip(map(weight_name, layers), blocks, strict=True))
    in_order = [name for name in facts.layers if name in layers]
    return context.encode(
        {**tensors, "bias": bias},
        layers=in_order,
        labels=_labels(spec, len(bias), str(path)),
        margin_scale=_margin_scale(context, layers, blocks, bias),
        fitted_on={"num_channels": sum(found.dims)},
    )


def find_maps(
    found: Extractor, facts: GeneratorFacts, kind: str, spec: LinearSpec, source: str
) -> tuple[str, ...]:
    """The feature map of each layer of `found`, by the channels that its `dims` say.

    Raises:
        JobError: If they fit neither list, or both and `layers` does not say which.
    """
    lists = {"LinearGAN": _linear_gan(facts, kind), "KLiSH": _klish(facts, kind)}
    fitting = {
        program: tuple(names[number] for number in found.layers)
        for program, names in lists.items()
        if _fits(found, names, facts)
    }
    where = f"dataset.segmenter.extractor: {source}"
    if not fitting:
        offered = ", ".join(f"{shape.channels}" for shape in facts.layers.values())
        _refuse(
            f"{where} reads layers {_listed(found.layers)} of {_listed(found.dims)} channels, which are "
            f"no feature maps of this generator (channels {offered}) in the order of LinearGAN's "
            "program or KLiSH's; use the generator that it was trained on"
        )
    if isinstance(spec.layers, list):
        fitting = {k: maps for k, maps in fitting.items() if set(maps) == set(spec.layers)}
    choices = set(fitting.values())
    if not choices:
        _refuse(
            f"dataset.segmenter.layers: found {', '.join(spec.layers)}, but {source} reads other "
            "feature maps; leave `layers` out"
        )
    if len(choices) > 1:
        both = " or ".join(
            f"{', '.join(maps)} (as {program} counts)" for program, maps in fitting.items()
        )
        _refuse(f"{where} can read {both}; say which in `layers`")
    chosen = choices.pop()
    if _CONSTANT in chosen:
        _refuse(
            f"{where} reads the generator's learned constant, which is no feature map here; use an "
            "extractor without it"
        )
    return chosen


def _linear_gan(facts: GeneratorFacts, kind: str) -> list[str]:
    if kind in _ONE_PER_RESOLUTION:
        return list({shape.height: name for name, shape in facts.layers.items()}.values())
    return list(facts.layers)


def _klish(facts: GeneratorFacts, kind: str) -> list[str]:
    return list(facts.layers) if kind in _ONE_PER_RESOLUTION else [_CONSTANT, *facts.layers]


def _fits(found: Extractor, names: Sequence[str], facts: GeneratorFacts) -> bool:
    # The constant has as many channels as the map that is made of it.
    first = next(iter(facts.layers.values())).channels
    widths = [facts.layers[name].channels if name else first for name in names]
    pairs = zip(found.layers, found.dims, strict=True)
    return all(number < len(widths) and widths[number] == width for number, width in pairs)


def _labels(spec: LinearSpec, num_classes: int, source: str) -> tuple[MaskClass, ...]:
    if not spec.classes:
        return unnamed_labels(num_classes, "class")
    if len(spec.classes) != num_classes:
        _refuse(
            f"dataset.segmenter.classes: found {len(spec.classes)}, {source} has {num_classes}; name "
            "all of them, or leave `classes` out"
        )
    return make_labels(spec.classes)


def _margin_scale(
    context: FitContext, layers: Sequence[str], blocks: Sequence[Tensor], bias: Tensor
) -> float:
    """Median lead of the best class over the second, on a batch of fitting images."""
    device, side = context.pool.device, context.generator.facts.resolution
    head = LinearLayers(
        [block.to(device) for block in blocks],
        torch.ones(len(layers), device=device),
        bias.to(device),
    )
    latents = fitting_batch(context.generator, context.dataset, 0, 0)
    features = context.generator.generate(latents, tuple(layers)).features
    best = head.logits([features[layer] for layer in layers], (side, side)).topk(2, dim=1).values
    return float((best[:, 0] - best[:, 1]).median())


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _refuse(message: str) -> NoReturn:
    raise JobError(message)
