"""Fit a linear head on a few painted pictures, or take one that LinearGAN's authors released.

Source: Xu and Zheng, "Linear Semantics in Generative Adversarial Networks", CVPR 2021. `lse.py` has the
formulas, `few_shot.py` the training.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.folder import PaintedPicture, read_painted
from factory.fit.annotations.pictures_file import PicturesFile, check_images, read_pictures_file
from factory.fit.context import FitContext
from factory.fit.cost import FitCost, Probe, likely_head
from factory.fit.few_shot import (
    FewShotTraining,
    Trained,
    confusion,
    count_passes,
    count_steps,
    mean_iou,
)
from factory.fit.lse import LinearLayers, Loss, Picture, Trainer
from factory.fit.painted_maps import PaintedMaps, generate_maps, redraws_noise
from factory.fit.pixels.sampling import choose_layers
from factory.fit.released_head import take_released
from factory.generate.base import GeneratorFacts
from factory.identity import counter_rng
from factory.manifest.labels import MaskClass
from factory.segment.segmenter_file import weight_name
from factory.spec.linear import LinearSpec

_NEVER = -1e30
"""Bias of a class that is never found: finite, so that no margin becomes NaN."""

_SECTION = "dataset.segmenter"


def fit_linear(spec: LinearSpec, context: FitContext) -> bytes:
    """Fit the head and return the segmenter file.

    Raises:
        WeightsError: If `extractor` names no extractor.
        JobError: If it does not fit, the pictures are of another generator, a mask cannot be used,
            a class is painted nowhere, or the feature maps need more memory than they may use.
        Interrupted: If a stop was requested.
    """
    if spec.extractor is not None:
        return take_released(spec, context)
    facts, labels = context.generator.facts, make_labels(spec.classes)
    layers = find_layers(spec, facts)
    content, painted = _read(spec)
    side = context.generator.facts.resolution
    check_images(
        Path(str(spec.annotations)), content, context.dataset, context.weights.sha256, side
    )
    counts = _count_classes(painted, len(labels))
    classes = _merge_rare(spec, labels, counts)
    _check_folds(spec, len(painted))
    _check_memory(spec, layers, facts, len(painted))
    device = context.pool.device
    merged = np.bincount(classes[: len(labels)], weights=counts, minlength=len(labels))
    with torch.inference_mode(mode=False), torch.enable_grad():
        maps = PaintedMaps(
            spec,
            context,
            painted,
            seed=content.seed,
            layers=layers,
            classes=classes,
        )
        training = FewShotTraining(
            spec,
            lambda: first_head(spec, layers, facts, len(labels), device),
            make_loss(spec, labels, merged, device),
            context.checkpoint,
        )
        found = training.run(len(painted), maps.of_epoch, context.progress)
        found.head.bias = torch.where(
            torch.from_numpy(merged > 0).to(device), found.head.bias, _NEVER
        )
        return _encode(context, found, maps.of_epoch(0), layers, labels, counts)


def _encode(
    context: FitContext,
    found: Trained,
    pictures: Sequence[Picture],
    layers: Sequence[str],
    labels: Sequence[MaskClass],
    counts: Int64[np.ndarray, " k"],
) -> bytes:
    """The segmenter file of a head, with what it makes of the pictures that it was fitted on."""
    head, facts = found.head, context.generator.facts
    blocks = zip(layers, head.folded(), strict=True)
    tensors = {weight_name(layer): block.cpu() for layer, block in blocks}
    figures: dict[str, int | float] = {
        "num_pictures": len(pictures),
        "num_pixels": int(counts.sum()),
        "num_channels": sum(facts.layers[layer].channels for layer in layers),
        "epochs": found.epochs,
        "loss": round(found.loss, 6),
        "agreement": round(mean_iou(confusion(head, pictures)), 6),
    }
    if found.score is not None:
        figures["left_out_iou"] = round(found.score, 6)
    return context.encode(
        {**tensors, "bias": head.bias.detach().cpu()},
        layers=layers,
        labels=labels,
        margin_scale=_median_margin(head, pictures),
        fitted_on=figures,
    )


def find_layers(spec: LinearSpec, facts: GeneratorFacts) -> tuple[str, ...]:
    """The feature maps that the head reads.

    Raises:
        JobError: If the generator does not offer one.
    """
    return choose_layers(list(facts.layers) if spec.layers == "all" else spec.layers, facts)


def first_head(
    spec: LinearSpec,
    layers: Sequence[str],
    facts: GeneratorFacts,
    num_classes: int,
    device: torch.device,
) -> LinearLayers:
    """The head before training: weights uniform within 1 / sqrt(channels), as a convolution's are."""
    blocks = []
    for place, layer in enumerate(layers):
        channels = facts.layers[layer].channels
        rng = counter_rng("first_weights", spec.seed, place)
        drawn = rng.uniform(-1, 1, (num_classes, channels)) / np.sqrt(channels)
        blocks.append(torch.from_numpy(drawn.astype(np.float32)).to(device))
    return LinearLayers(
        blocks,
        torch.ones(len(layers), device=device),
        torch.zeros(num_classes, device=device),
        spec.layer_weights,
        spec.bias,
    )


def make_loss(
    spec: LinearSpec,
    labels: Sequence[MaskClass],
    counts: Float[np.ndarray, " k"],
    device: torch.device,
) -> Loss:
    """The loss of a job. `counts` are the painted pixels of each class."""
    weights: Tensor | None = None
    if spec.class_weights == "balanced":
        used = counts > 0
        shares = np.where(used, counts.sum() / (used.sum() * np.maximum(counts, 1)), 0)
        weights = torch.from_numpy(shares.astype(np.float32))
    elif isinstance(spec.class_weights, dict):
        given = spec.class_weights
        weights = torch.tensor([given.get(label.name, 1.0) for label in labels])
    return Loss(
        focal=spec.loss == "focal",
        layer_share=spec.layer_loss,
        class_weights=None if weights is None else weights.to(device),
    )


def _read(spec: LinearSpec) -> tuple[PicturesFile, list[PaintedPicture]]:
    """The manifest of the job's folder, and the pictures that are painted."""
    assert spec.annotations is not None  # settings without them name an extractor
    folder = Path(spec.annotations)
    content = read_pictures_file(folder)
    return content, read_painted(folder, content, make_classes(make_labels(spec.classes)))


def _count_classes(painted: Sequence[PaintedPicture], num_classes: int) -> Int64[np.ndarray, " k"]:
    counts = np.zeros(IGNORE + 1, dtype=np.int64)
    for one in painted:
        counts += np.bincount(one.mask.ravel(), minlength=IGNORE + 1)
    return counts[:num_classes]


def _merge_rare(
    spec: LinearSpec, labels: Sequence[MaskClass], counts: Int64[np.ndarray, " k"]
) -> Int64[np.ndarray, " 256"]:
    """For each mask value the class that it is trained as: rare classes as `other`, if there is one."""
    table = np.arange(IGNORE + 1)
    names = [label.name for label in labels]
    least = spec.rare_px if spec.other else 1
    rare = [place for place in range(len(labels)) if counts[place] < least]
    if spec.other:
        rare = [place for place in rare if names[place] != spec.other]
        table[rare] = names.index(spec.other)
    elif rare:
        missing = ", ".join(repr(names[place]) for place in rare)
        raise JobError(
            f"{_SECTION}.classes: no picture is painted with {missing}; paint it, remove it, or name "
            "a class `other`"
        )
    trained = {int(table[place]) for place in range(len(labels)) if counts[place]}
    if len(trained) < 2:
        raise JobError(
            f"{_SECTION}.annotations: only {names[trained.pop()]!r} is painted: there is nothing to "
            "tell apart; paint what is around it, too"
        )
    return table


def _check_folds(spec: LinearSpec, num_pictures: int) -> None:
    if spec.folds == 1 or spec.folds > num_pictures:
        raise JobError(
            f"{_SECTION}.folds: found {spec.folds}, with {num_pictures} painted pictures; allowed: 0, "
            f"or 2 to {num_pictures}"
        )


def _check_memory(
    spec: LinearSpec, layers: Sequence[str], facts: GeneratorFacts, num_pictures: int
) -> None:
    """Require that the pictures' feature maps fit the memory they may use."""
    shapes = [facts.layers[layer] for layer in layers]
    numbers = sum(shape.channels * shape.height * shape.width for shape in shapes)
    needed = num_pictures * numbers * torch.finfo(torch.float32).bits / 8 / 2**30
    if needed > spec.memory_gib:
        raise JobError(
            f"{_SECTION}.memory_gib: feature maps of {num_pictures} pictures need {needed:.3g} GiB, "
            f"found {spec.memory_gib:g}; raise it, or name fewer layers"
        )


def _median_margin(head: LinearLayers, pictures: Sequence[Picture]) -> float:
    """Median lead of the best class over the second at painted pixels."""
    margins = []
    for picture in pictures:
        height, width = picture.ids.shape[1:]
        with torch.no_grad():
            best = head.logits(picture.maps, (height, width)).topk(2, dim=1).values
        margins.append((best[:, 0] - best[:, 1])[picture.ids != IGNORE].cpu())
    return float(torch.cat(margins).median())


def _seconds(spec: LinearSpec, probe: Probe, batch_s: float) -> float:
    """The epochs' feature maps, and their steps at the speed of two that are tried."""
    if spec.extractor is not None:
        return batch_s
    _, painted = _read(spec)
    facts, device = probe.generator.facts, probe.device
    layers, side = find_layers(spec, facts), facts.resolution
    maps = generate_maps(probe.generator, probe.dataset, spec.seed, [0], layers)[0]
    with torch.inference_mode(mode=False), torch.enable_grad():
        ids = torch.arange(side * side).view(1, side, side) % len(spec.classes)
        picture = Picture(maps, ids.to(device))
        head = first_head(spec, layers, facts, len(spec.classes), device)
        loss = make_loss(spec, make_labels(spec.classes), np.ones(len(spec.classes)), device)
        trainer = Trainer(head, loss, spec.learning_rate)
        trainer.train_epoch([picture], 1)
        started = time.perf_counter()
        trainer.train_epoch([picture], 2)
        step_s = (time.perf_counter() - started) / 2
    steps = count_passes(spec, len(painted)) * count_steps(spec, len(painted))
    draws = spec.epochs if redraws_noise(spec, probe.dataset) else 1
    return spec.epochs * steps * step_s + draws * probe.batches_s(len(painted), batch_s)


def _stand_in(spec: LinearSpec, probe: Probe) -> bytes:
    if spec.extractor is not None:
        return likely_head(probe)
    labels = make_labels(spec.classes)
    layers = list(find_layers(spec, probe.generator.facts))
    return likely_head(probe, len(labels), layers, labels)


COST = FitCost(seconds=_seconds, stand_in=_stand_in)
"""The cost of a fit on painted pictures."""
