"""Fit the other methods that a job's masks are compared with, and match their classes."""

import math
import threading
from collections.abc import Sequence

import numpy as np
import torch

from factory.fit.fitted import find_fitted, needs_fitting
from factory.fit.pixels.pool import one_thread
from factory.fit.pixels.sampling import fitting_batch
from factory.fit.progress import OnProgress
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import LocalWeights
from factory.run.fitting import finish_for, fit_for
from factory.run.worker import device_here
from factory.segment.base import AnySegmenter, generate_and_segment, segment_images
from factory.segment.methods import check_methods
from factory.segment.opinions import (
    Matched,
    count_pairs,
    encode_opinions,
    load_fitted,
    match_classes,
)
from factory.spec import DatasetSpec, JobSpec

NUM_IMAGES = 64
"""Images that classes are matched on."""
_SEED = 2**62 + 1
"""Their seed: above every seed that a job can give a fit, so that they are always others."""


def job_of_other(spec: JobSpec, place: int) -> JobSpec:
    """The job with the other method `place` as its segmenter."""
    assert spec.dataset.agreement is not None
    method = spec.dataset.agreement.others[place].method
    dataset = spec.dataset.model_copy(update={"segmenter": method, "agreement": None})
    return spec.model_copy(update={"dataset": dataset})


def check_others(dataset: DatasetSpec) -> None:
    """Validate the other methods of a dataset before anything is fitted.

    Raises:
        PluginError: If nothing has such a name, or a plugin cannot be used.
        JobError: If one has a setting that it cannot have.
    """
    agreement = dataset.agreement
    for other in agreement.others if agreement is not None else ():
        check_methods(other.method)


def find_opinions(
    spec: JobSpec,
    weights: LocalWeights,
    fitted: bytes,
    *,
    on_progress: OnProgress,
    stop: threading.Event | None,
    stored: bytes = b"",
) -> bytes:
    """The file of a job's other methods, `stored` if the dataset has one; empty without any.

    Raises:
        JobError: If a setting or a file that one names is wrong.
        Interrupted: If `stop` was set; the next call resumes.
    """
    agreement = spec.dataset.agreement
    if agreement is None:
        return b""
    if stored:
        return stored
    fits = []
    for place in range(len(agreement.others)):
        other = job_of_other(spec, place)
        found: bytes | None = b""
        if needs_fitting(other.dataset):
            found = find_fitted(other.dataset, weights.sha256)
        if found is None:
            found = fit_for(other, weights, on_progress, stop or threading.Event())
        fits.append(finish_for(other, weights, found, on_progress, stop))
    return encode_opinions(fits, _match(spec, weights, fitted, fits))


def _match(
    spec: JobSpec, weights: LocalWeights, fitted: bytes, fits: Sequence[bytes]
) -> list[Matched]:
    dataset, device = spec.dataset, device_here(spec.run)
    assert dataset.agreement is not None
    with one_thread(), torch.inference_mode():
        generator = load_generator(dataset.generator, weights.path, device=device)
        facts = generator.facts
        ours = load_fitted(dataset.segmenter, fitted, facts, device)
        others = [
            load_fitted(other.method, data, facts, device)
            for other, data in zip(dataset.agreement.others, fits, strict=True)
        ]
        counts = _count(dataset, generator, ours, others)
    names = [label.name for label in ours.labels]
    return [
        match_classes(count, names, [label.name for label in other.labels])
        for count, other in zip(counts, others, strict=True)
    ]


def _count(
    dataset: DatasetSpec, generator: Generator, ours: AnySegmenter, others: Sequence[AnySegmenter]
) -> list[np.ndarray]:
    """Pixels by class of ours and class of each other method."""
    layers = [name for other in others for name in other.layers]
    shapes = [(len(ours.labels), len(other.labels)) for other in others]
    counts = [np.zeros(shape, dtype=np.int64) for shape in shapes]
    for batch_index in range(math.ceil(NUM_IMAGES / dataset.batch_size)):
        latents = fitting_batch(generator, dataset, _SEED, batch_index)
        batch, mine = generate_and_segment(generator, ours, latents, layers)
        for place, other in enumerate(others):
            masks = segment_images(other, generator, latents, batch).masks
            counts[place] += count_pairs(mine.masks, masks, *shapes[place])
    return counts
