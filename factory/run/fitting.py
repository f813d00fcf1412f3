"""Where a job's segmenter is fitted: by threads of this process, or by the workers of its cluster."""

import importlib
import os
import sys
import threading
from pathlib import Path

from factory.fit.fitted import fit_segmenter
from factory.fit.pixels.budget import MOST_PIXELS
from factory.fit.pixels.pool import LanePool
from factory.fit.progress import OnProgress
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.run.base import WorkOrder
from factory.run.worker import device_of
from factory.spec import JobSpec, KlishSpec, KMeansSpec

_LEAST_TO_SPREAD = 10**7
"""Pixels times clusters from which joining a cluster pays."""


def fit_for(
    spec: JobSpec, weights: LocalWeights, on_progress: OnProgress, stop: threading.Event
) -> bytes:
    """Fit the job's segmenter where it is quickest; see `fit.fitted.fit_segmenter`."""
    device = device_of(spec.run)
    if must_distribute(spec):
        ray_cluster = importlib.import_module("factory.run.ray_cluster")
        with ray_cluster.fit_on_ray(make_order(spec, weights)) as pool:
            return fit_segmenter(
                spec.dataset, weights, device=device, on_progress=on_progress, pool=pool, stop=stop
            )
    generator = load_generator(spec.dataset.generator, weights.path, device=device)
    pool = LanePool(generator, spec.dataset, device, num_lanes(spec))
    try:
        return fit_segmenter(
            spec.dataset, weights, device=device, on_progress=on_progress, pool=pool, stop=stop
        )
    finally:
        pool.close()


def must_distribute(spec: JobSpec) -> bool:
    """Whether the workers of the job's cluster fit together.

    They do if the job joins a cluster or has a GPU for each worker, and the fit is large. On the
    processors of one machine threads of this process do as well, and need not be started.
    """
    run, segmenter = spec.run, spec.dataset.segmenter
    if run.executor != "ray" or run.num_actors == 1 or not (run.address or run.gpus_per_actor):
        return False
    if isinstance(segmenter, KlishSpec):
        clusters = segmenter.initial_clusters
    elif isinstance(segmenter, KMeansSpec):
        clusters = segmenter.num_clusters
    else:
        return False
    asked = segmenter.fit.pixels_per_image
    per_image = MOST_PIXELS if asked == "auto" else asked
    return segmenter.fit.num_images * per_image * clusters >= _LEAST_TO_SPREAD


def num_lanes(spec: JobSpec) -> int:
    """Threads of this process that fit: those of one worker, or of all that this machine would run."""
    run = spec.run
    if run.executor == "inline" or run.num_actors == 1:
        return run.threads_per_actor
    cores = os.cpu_count() or 1
    return cores if run.num_actors == "auto" else min(cores, run.num_actors * run.threads_per_actor)


def make_order(spec: JobSpec, weights: LocalWeights) -> WorkOrder:
    """What a worker must know to fit; it writes nothing."""
    return WorkOrder(
        dataset=spec.dataset,
        run=spec.run,
        output_uri="",
        single_writer=False,
        weights_sha256=weights.sha256,
        segmenter_path="",
        run_id="",
        import_paths=tuple(path or str(Path.cwd()) for path in sys.path),
    )
