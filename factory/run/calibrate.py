"""`python -m factory.run.calibrate`: time a few batches of the job on standard input.

It runs as a worker would, in a process of its own, and answers with one JSON object. Without a
fitted segmenter it measures a head of the same shape with random weights.
"""

import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from factory.errors import FactoryError, WeightsError
from factory.fit.fitted import find_fitted, needs_fitting
from factory.fit.pixels.budget import plan_sampling
from factory.fit.pixels.forecast import forecast
from factory.fit.pixels.part import Part
from factory.fit.pixels.sampling import choose_layers, fitting_batch, read_batch
from factory.generate.base import Generator, load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.fetch import must_download
from factory.generate.weights.find import find_weights
from factory.make.accept import find_rules
from factory.make.compute import compute_samples
from factory.pack.packing import encode_batch
from factory.run.fitting import num_lanes
from factory.run.worker import configure_process, device_of
from factory.segment.base import AnySegmenter, load_segmenter
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter, weight_name
from factory.segment.style_mixing.segmenter import PROTOTYPES_NAME
from factory.segment.tree.cut import finish_segmenter
from factory.spec import (
    DistilSpec,
    JobSpec,
    KlishSpec,
    KMeansSpec,
    SegmenterSpec,
    StyleMixingSpec,
)

_BATCHES = 3
_TAR_BYTES_PER_FILE = 512 + 256
_LIKELY_CLASSES = 26
_TIMED_PIXELS = 256


def calibrate(spec: JobSpec) -> dict[str, float]:
    """Pairs per second of one worker, bytes per pair, and seconds of the fit that is still to do.

    Raises:
        JobError: If a fitted file or labels are not for this job, or a class has no such name.
        FactoryError: If generator or segmenter cannot be loaded on this machine.
    """
    dataset = spec.dataset
    device = device_of(spec.run)
    if must_download(dataset.generator):
        raise WeightsError(
            f"dataset.generator.weights: {dataset.generator.weights} is not on this machine yet; "
            "`factory fit` or `factory run` fetch it"
        )
    weights = find_weights(dataset.generator)
    generator = load_generator(dataset.generator, weights.path, device=device)
    fitted = find_fitted(dataset, weights.sha256) if needs_fitting(dataset) else None
    if fitted is not None:
        fitted = finish_segmenter(fitted, dataset.segmenter, source="the fitted segmenter")
    segmenter = _segmenter(spec, generator, fitted, device)
    if fitted is not None:
        find_rules(dataset.accept, segmenter.labels)
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    size = dataset.batch_size
    times, num_bytes = [], 0
    for batch in range(1 + _BATCHES):
        started = time.perf_counter()
        indices = range(batch * size, (batch + 1) * size)
        latents = sampler.draw(indices)
        samples = compute_samples(
            generator, segmenter, latents, size, by_px=dataset.encode.confidence
        )
        names = generator.facts.class_names
        encoded = encode_batch(samples, dataset.encode, dataset_id="0" * 16, class_names=names)
        times.append(time.perf_counter() - started)
        files = [data for sample in encoded for _, data in sample.files]
        num_bytes = sum(len(data) + _TAR_BYTES_PER_FILE for data in files)
    seconds = sum(times[1:]) / _BATCHES
    fit_s = 0.0
    if needs_fitting(dataset) and fitted is None:
        fit_s = _fit_seconds(spec, generator, seconds)
    return {
        "pairs_per_s": size * spec.run.threads_per_actor / seconds,
        "bytes_per_pair": num_bytes / size,
        "fit_s": fit_s,
        "resolution_px": generator.facts.resolution,
    }


def _fit_seconds(spec: JobSpec, generator: Generator, batch_s: float) -> float:
    """Seconds of a fit, when the fitted segmenter takes `batch_s` for a batch."""
    dataset, kind = spec.dataset, spec.dataset.segmenter
    match kind:
        case KMeansSpec() | KlishSpec():
            return _pixel_fit_seconds(spec, kind, generator, batch_s)
        case StyleMixingSpec(classes=shared) if shared is not None:
            return shared.num_images * batch_s / dataset.batch_size
        case DistilSpec():
            taught = dataset.model_copy(update={"segmenter": kind.teacher})
            return _distil_seconds(
                spec.model_copy(update={"dataset": taught}), kind.samples, generator
            )
    return 0.0


def _pixel_fit_seconds(
    spec: JobSpec, kind: KMeansSpec | KlishSpec, generator: Generator, batch_s: float
) -> float:
    """Sampling and all sums of the fit, on as many threads as it will have on this machine."""
    dataset = spec.dataset
    sampling = plan_sampling(kind, generator.facts)
    few = replace(sampling, pixels_per_image=min(sampling.pixels_per_image, _TIMED_PIXELS))
    vectors = torch.cat(read_batch(generator, dataset, few, 0))
    part = Part(0, generator, dataset, device_of(spec.run))
    halves = 2 if isinstance(kind, KlishSpec) else 1
    batches = halves * math.ceil(sampling.num_images / dataset.batch_size)
    return (batches * batch_s + forecast(kind, sampling, part, vectors)) / num_lanes(spec)


def _distil_seconds(taught: JobSpec, num_images: int, generator: Generator) -> float:
    """The teacher's own fit, and `num_images` that it labels. `taught` is a job of the teacher."""
    dataset = taught.dataset
    teacher = _segmenter(taught, generator, None, device_of(taught.run))
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    latents = sampler.draw(range(dataset.batch_size))
    started = time.perf_counter()
    compute_samples(generator, teacher, latents, dataset.batch_size)
    batch_s = time.perf_counter() - started
    labelling_s = num_images * batch_s / dataset.batch_size
    return labelling_s + _fit_seconds(taught, generator, batch_s)


def _segmenter(
    spec: JobSpec, generator: Generator, fitted: bytes | None, device: torch.device
) -> AnySegmenter:
    kind = spec.dataset.segmenter
    with tempfile.TemporaryDirectory() as folder:
        path = None
        if needs_fitting(spec.dataset):
            path = Path(folder) / "segmenter.safetensors"
            path.write_bytes(fitted or _untrained(spec, generator))
        return load_segmenter(kind, path, generator.facts, device)


def _untrained(spec: JobSpec, generator: Generator) -> bytes:
    """A file of the right shape whose classes are single pixels' features: plausible masks."""
    kind = spec.dataset.segmenter
    num_classes, wanted = _shape_of(kind)
    layers = choose_layers(wanted, generator.facts)
    latents = fitting_batch(generator, spec.dataset, 0, 0)
    features = generator.generate(latents, layers).features
    tensors, bias = {}, torch.zeros(num_classes)
    for layer in layers:
        maps = features[layer].float().cpu()
        step = torch.linspace(0, maps[:, 0].numel() - 1, num_classes).long()
        rows = maps.permute(0, 2, 3, 1).flatten(0, 2)[step].contiguous()
        tensors[weight_name(layer)] = rows
        bias -= rows.square().sum(dim=1) / 2
    facts = SegmenterFacts(
        kind=kind.kind,
        generator_kind=spec.dataset.generator.kind,
        weights_sha256="",
        layers=list(layers),
        labels=list(unnamed_labels(num_classes)),
        margin_scale=1.0,
        fitted_on={},
    )
    prototypes = torch.cat(list(tensors.values()), dim=1)
    return encode_segmenter({**tensors, "bias": bias, PROTOTYPES_NAME: prototypes}, facts)


def _shape_of(kind: SegmenterSpec) -> tuple[int, str | list[str]]:
    """Classes and layers of the segmenter that a fit will give."""
    match kind:
        case KMeansSpec():
            return kind.num_clusters, kind.layers
        case KlishSpec():
            return _num_classes(kind), kind.layers
        case StyleMixingSpec(classes=shared) if shared is not None:
            return shared.num_classes, shared.layers
        case DistilSpec():
            return 2, kind.layers  # as many as the teacher has, known only when it is built
    raise AssertionError(f"{kind.kind} is not fitted")


def _num_classes(kind: KlishSpec) -> int:
    """Rows that the head will have, as far as the job tells before the fit."""
    if kind.labels is not None:
        return sum(len(label.nodes) for label in kind.labels.labels)
    if isinstance(kind.cut, list):
        return len(kind.cut)
    return min(kind.initial_clusters, _LIKELY_CLASSES) if kind.cut == "auto" else kind.cut


def main() -> None:
    """Answer on standard output."""
    spec = JobSpec.model_validate_json(sys.stdin.read())
    configure_process()
    answer: dict[str, Any]
    try:
        with torch.inference_mode():
            answer = dict(calibrate(spec))
    except FactoryError as error:
        answer = error.facts()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
