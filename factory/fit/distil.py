"""Distil a slow method into a linear head: fit it to the method's most confident masks.

The head costs a fraction of one forward pass per pair, whatever its teacher costs. Images that the
teacher rejects or is least sure of are left out; some of the rest are held out, and the head must
agree with its teacher on them.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext
from factory.fit.cost import FitCost, Probe, fit_seconds, likely_head, load_stand_in
from factory.fit.finish import find_finished, finish_in
from factory.fit.fitted import find_fitted, fit_and_keep, needs_fitting
from factory.fit.logistic import fit_logistic
from factory.fit.pixels.sampling import choose_layers, fitting_batch
from factory.fit.teacher_masks import LabelledPixels, TeacherPixels, collect_labelled_pixels
from factory.segment.base import (
    AnySegmenter,
    generate_and_segment,
    load_segmenter,
)
from factory.segment.methods import has_file
from factory.segment.segmenter_file import weight_name
from factory.spec.distil import DistilSpec

_FEWEST = 2
"""Images that must be left to fit on, and as many to score on."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a head repeats its teacher on pixels it was not fitted on."""

    mean_iou: float
    """Mean over the classes that either of them uses."""
    accuracy: float
    """Share of equal pixels."""
    worst_class: int
    """The class of least IoU."""
    worst_iou: float
    """Its IoU."""


def fit_distil(spec: DistilSpec, context: FitContext) -> bytes:
    """Fit a linear head on masks of `spec.teacher` and return the segmenter file.

    Raises:
        JobError: If too few of the teacher's masks can be used, or the head agrees too little with
            them.
        Interrupted: If a stop was requested.
    """
    offered = context.pool.facts.layers
    layers = choose_layers(spec.layers, context.pool.facts)
    teacher = _teacher(spec, context)
    taught = collect_labelled_pixels(
        context,
        teacher,
        layers,
        num_images=spec.samples,
        pixels_per_image=spec.pixels_per_image,
        seed=spec.seed,
    )
    train, test = _split(taught, spec)
    vectors, ids = _joined(train)
    _refuse_one_class(ids, teacher)
    weights, bias = fit_logistic(vectors, ids, len(teacher.labels))
    found = measure_agreement(*_joined(test), weights, bias)
    _refuse_disagreement(found, teacher, spec, len(test))
    best = torch.addmm(bias, vectors, weights.T).topk(2, dim=1).values
    widths = [offered[layer].channels for layer in layers]
    blocks = zip(layers, torch.split(weights, widths, dim=1), strict=True)
    return context.encode(
        {**{weight_name(layer): block for layer, block in blocks}, "bias": bias},
        layers=layers,
        labels=teacher.labels,
        margin_scale=float((best[:, 0] - best[:, 1]).median()),
        fitted_on={
            "num_images": len(train),
            "num_held_out": len(test),
            "num_rejected": sum(taught.rejected.values()),
            "num_uncertain": len(taught.kept) - len(train) - len(test),
            "num_pixels": len(vectors),
            "num_channels": vectors.shape[1],
            "agreement": round(found.mean_iou, 6),
            "pixel_agreement": round(found.accuracy, 6),
        },
    )


def _refuse_one_class(ids: Int64[Tensor, " p"], teacher: AnySegmenter) -> None:
    if len(torch.unique(ids)) < 2:
        name = teacher.labels[int(ids[0])].name
        raise JobError(
            f"dataset.segmenter.teacher: its masks hold one class only, {name!r}: there is nothing "
            "to tell apart; choose another teacher"
        )


def _refuse_disagreement(
    found: Agreement, teacher: AnySegmenter, spec: DistilSpec, num_images: int
) -> None:
    if found.mean_iou >= spec.min_agreement:
        return
    raise JobError(
        f"dataset.segmenter.min_agreement: head and teacher agree by {found.mean_iou:.3f} on "
        f"{num_images} held-out images (mean IoU; least for "
        f"{teacher.labels[found.worst_class].name!r}, {found.worst_iou:.3f}), the job asks for "
        f"{spec.min_agreement}; raise samples or drop_share, name more layers, choose another "
        "teacher, or lower it"
    )


def measure_agreement(
    vectors: Float[Tensor, "p c"],
    ids: Int64[Tensor, " p"],
    weights: Float[Tensor, "k c"],
    bias: Float[Tensor, " k"],
) -> Agreement:
    """Compare the head's classes of `vectors` with the teacher's `ids`."""
    said = torch.addmm(bias, vectors, weights.T).argmax(dim=1)
    count = len(bias)
    table = torch.bincount(ids * count + said, minlength=count * count).view(count, count)
    both = table.diagonal().double()
    either = table.sum(dim=0) + table.sum(dim=1) - both
    iou = torch.where(either > 0, both / either.clamp(min=1), torch.inf)
    used = iou[either > 0]
    worst = int(iou.argmin())
    accuracy = float(both.sum() / table.sum())
    return Agreement(float(used.mean()), accuracy, worst, float(iou[worst]))


def _teacher(spec: DistilSpec, context: FitContext) -> AnySegmenter:
    """The teacher, fitted and finished if it has to be."""
    taught = context.dataset.model_copy(update={"segmenter": spec.teacher})
    with TemporaryDirectory() as folder:
        path = None
        if has_file(spec.teacher):
            own, data = replace(context, dataset=taught), b""
            if needs_fitting(taught):
                found = find_fitted(taught, context.weights.sha256)
                data = fit_and_keep(own)[0] if found is None else found
            known = find_finished(data, taught, context.weights.sha256)
            path = Path(folder) / "teacher.safetensors"
            path.write_bytes(finish_in(own, data) if known is None else known)
        return load_segmenter(spec.teacher, path, context.pool.facts, context.pool.device)


def _split(
    taught: TeacherPixels, spec: DistilSpec
) -> tuple[list[LabelledPixels], list[LabelledPixels]]:
    """The images to fit on and those to score on, without the least certain ones."""
    order = sorted(range(len(taught.kept)), key=lambda place: taught.kept[place].confidence)
    sure = [taught.kept[place] for place in sorted(order[int(len(order) * spec.drop_share) :])]
    num_test = max(_FEWEST, round(len(sure) * spec.held_out))
    if len(sure) - num_test < _FEWEST:
        counts = ", ".join(f"{reason}: {n}" for reason, n in taught.rejected.most_common())
        raise JobError(
            f"dataset.segmenter.samples: {len(sure)} of {spec.samples} masks can be used (rejected "
            f"{counts or 'none'}; uncertain: {len(taught.kept) - len(sure)}), found "
            f"{spec.samples}; ask for more, or loosen the teacher's rules"
        )
    return sure[:-num_test], sure[-num_test:]


def _joined(images: list[LabelledPixels]) -> tuple[Tensor, Tensor]:
    vectors = torch.cat([image.vectors for image in images])
    return vectors, torch.cat([image.ids for image in images])


def _seconds(spec: DistilSpec, probe: Probe, batch_s: float) -> float | None:  # noqa: ARG001 - the head's own speed says nothing of its teacher's
    """The teacher's own fit, and the images that it labels."""
    taught = replace(probe, dataset=probe.dataset.model_copy(update={"segmenter": spec.teacher}))
    teacher = load_stand_in(taught)
    latents = fitting_batch(probe.generator, probe.dataset, spec.seed, 0)
    started = time.perf_counter()
    _, labelled = generate_and_segment(probe.generator, teacher, latents)
    labelled.masks.cpu()
    teacher_s = time.perf_counter() - started
    fit_s = fit_seconds(taught, teacher_s)
    return None if fit_s is None else fit_s + probe.batches_s(spec.samples, teacher_s)


_LEAST_CLASSES = 2
"""A head has as many classes as its teacher, which is known only when that one is built."""

COST = FitCost(
    seconds=_seconds,
    stand_in=lambda spec, probe: likely_head(probe, _LEAST_CLASSES, spec.layers),
)
"""What distilling takes."""
