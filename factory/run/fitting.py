"""Fit a job's segmenter with threads of this process, or on the workers of its cluster."""

import importlib
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from factory.fit.cost import cost_of
from factory.fit.finish import finish_fit
from factory.fit.fitted import find_fitted, fit_segmenter
from factory.fit.pixels.pool import ThreadedPixelPool
from factory.fit.progress import OnProgress
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights, find_weights
from factory.generate.weights.known import known_weights
from factory.run.base import WorkerConfig
from factory.run.devices import gpu_share
from factory.run.worker import device_here
from factory.segment.methods import check_methods, find_method, import_part, settings_of
from factory.spec import JobSpec

_LEAST_TO_SPREAD = 10**7
"""Pixels times clusters from which distributing a fit saves more time than starting workers costs."""


@runtime_checkable
class FitObserver(Protocol):
    """Progress callbacks for downloading weights and fitting; part of `job.JobObserver`."""

    def downloading(self, num_bytes: int, total_bytes: int) -> None:
        """Weights are being downloaded; `total_bytes` is 0 if unknown."""

    def fitting(self, stage: str, num_done: int, num_total: int, eta_s: float | None) -> None:
        """The segmenter is being fitted; `eta_s` is the estimated time left of the stage, if known."""


@dataclass(frozen=True, slots=True)
class FoundFit:
    """The fitted segmenter of a job, and what it was fitted on."""

    weights: LocalWeights
    """The generator's weights."""
    fitted: bytes
    """The complete result of the fit, before any cut."""
    is_new: bool
    """Whether it was fitted by this call."""


def find_or_fit(spec: JobSpec, observer: FitObserver, stop: threading.Event) -> FoundFit:
    """Get the job's fitted segmenter: from the job's file, from the cache, or by fitting it now.

    Raises:
        JobError: If a setting or a file it names is wrong.
        PluginError: If the segmenter does not exist, or there is nothing to fit.
        Interrupted: If `stop` was set; the next call resumes from the last checkpoint.
    """
    check_methods(spec.dataset.segmenter)
    weights = find_weights(spec.dataset.generator, observer.downloading)
    found = find_fitted(spec.dataset, weights.sha256)
    if found is not None:
        return FoundFit(weights, found, is_new=False)
    return FoundFit(weights, fit_for(spec, weights, observer.fitting, stop), is_new=True)


def fit_for(
    spec: JobSpec, weights: LocalWeights, on_progress: OnProgress, stop: threading.Event
) -> bytes:
    """Fit the job's segmenter where it is quickest; see `fit.fitted.fit_segmenter`."""
    device = device_here(spec.run)
    if must_distribute(spec):
        ray_cluster = importlib.import_module("factory.run.ray_cluster")
        with ray_cluster.fit_on_ray(make_worker_config(spec, weights)) as pool:
            return fit_segmenter(
                spec.dataset, weights, device=device, on_progress=on_progress, pool=pool, stop=stop
            )
    generator = load_generator(spec.dataset.generator, weights.path, device=device)
    pool = ThreadedPixelPool(generator, spec.dataset, device, num_fit_threads(spec))
    try:
        return fit_segmenter(
            spec.dataset, weights, device=device, on_progress=on_progress, pool=pool, stop=stop
        )
    finally:
        pool.close()


def draw_report(spec: JobSpec, found: FoundFit) -> dict[str, bytes]:
    """The report that the job's method draws of its fit, files by name; empty if it draws none."""
    segmenter = spec.dataset.segmenter
    target = find_method(segmenter.kind).report
    if not target:
        return {}
    draw = import_part(segmenter.kind, target)
    settings, device = settings_of(segmenter), device_here(spec.run)
    files: dict[str, bytes] = draw(spec.dataset, settings, found.weights, found.fitted, device)
    return files


def finish_for(
    spec: JobSpec,
    weights: LocalWeights,
    fitted: bytes,
    on_progress: OnProgress,
    stop: threading.Event | None,
    *,
    stored: bytes | None = None,
) -> bytes:
    """The segmenter file of a job, in this process; see `fit.finish.finish_fit`."""
    return finish_fit(
        fitted,
        spec.dataset,
        weights,
        device=device_here(spec.run),
        on_progress=on_progress,
        stop=stop,
        stored=stored,
    )


def must_distribute(spec: JobSpec) -> bool:
    """Whether to fit on the workers of the job's cluster.

    That is the case if the job uses an existing cluster or GPUs, and the fit is large, or the cluster
    alone has GPUs. On the CPUs of one machine, threads of this process are as fast, and need no start.
    """
    run, segmenter = spec.run, spec.dataset.segmenter
    if run.executor != "ray" or run.num_actors == 1 or not (run.address or gpu_share(run)):
        return False
    work = cost_of(segmenter).shared_work(settings_of(segmenter))
    only_there = gpu_share(run) > 0 and device_here(run).type == "cpu"
    return work >= (1 if only_there else _LEAST_TO_SPREAD)


def num_fit_threads(spec: JobSpec) -> int:
    """Threads for fitting in this process: as many as its workers would use in all."""
    run = spec.run
    if run.executor == "inline" or run.num_actors == 1:
        return run.threads_per_actor
    cores = os.cpu_count() or 1
    return cores if run.num_actors == "auto" else min(cores, run.num_actors * run.threads_per_actor)


def make_worker_config(spec: JobSpec, weights: LocalWeights) -> WorkerConfig:
    """The configuration of a worker that only fits: it has no output."""
    generator = known_weights(spec.dataset.generator)  # another machine has seen them nowhere
    return WorkerConfig(
        dataset=spec.dataset.model_copy(update={"generator": generator}),
        run=spec.run,
        output_uri="",
        single_writer=False,
        weights_sha256=weights.sha256,
        segmenter_path="",
        run_id="",
        import_paths=tuple(path or str(Path.cwd()) for path in sys.path),
    )
