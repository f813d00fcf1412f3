"""Estimate a job before it runs: shards, bytes, time, and warnings for readers of the dataset.

The time is measured with a few real batches in a child process that is set up like a worker; planning
itself imports neither torch nor Ray.
"""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from factory.arguments import check_arguments
from factory.dataset.committed import find_committed
from factory.dataset.own_folder import check_new_dataset
from factory.dataset.planned_files import planned_digests
from factory.dataset.state import check_same_dataset, find_rounds
from factory.errors import (
    FactoryError,
    JobError,
    MissingWeightsError,
    PluginError,
    StoreError,
    UnreachableError,
    restore_error,
)
from factory.plan.growth import Growth, check_growth, grow
from factory.plan.identity import make_identity
from factory.plan.rounds import Round, make_plan
from factory.run.devices import num_workers_here
from factory.run.fit_warnings import find_fit_warnings
from factory.run.job_identity import identify_job
from factory.run.missing import Missing, find_missing, must_fetch, nearest_folder
from factory.spec import JobSpec
from factory.spec.read import Job, as_job
from factory.store import open_store
from factory.store.addresses import local_path

_FEW_SHARDS = 8
_CALIBRATION_LIMIT_S = 900
_RAY_BYTES = 75_000_000
"""What a worker process of Ray takes more than one that measures, for Ray itself."""
_TAR_END_BYTES = 6144
"""Of each tar, on average: two blocks, and what fills its last record of 10,240 bytes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The result of a dry run. Numbers that could not be measured are None."""

    name: str
    output_uri: str
    num_samples: int
    num_shards: int
    num_done: int
    """Samples that exist in the output already."""
    num_actors: int
    device: str | None
    """The GPU or CPU that was measured: that of this machine which `run.gpus_per_actor` asks for."""
    resolution_px: int | None
    pairs_per_s: float | None
    """Of one actor, on this machine."""
    bytes_in_all: int | None
    seconds_left: float | None
    """Estimated time for the missing samples, with `num_actors` workers as fast as this machine; the
    fit, if it is not done yet, comes before."""
    fit_s: float | None
    """The fit's share of that: 0 if there is nothing to fit, or it is done; None if it is unknown."""
    accepted_share: float | None
    """Share of the samples that are accepted, of a few batches; None before the fit."""
    passes_per_pair: float | None
    """Forward passes of the generator for a pair that is accepted."""
    seconds_per_pair: float | None
    """Of one actor, for a pair that is accepted."""
    worker_bytes: int | None
    """Memory of a worker, by what the process which measured took at most: right to about a fifth."""
    gpu_bytes: int | None
    """GPU memory that a worker took at most; None if it was not measured on a GPU."""
    workers_per_gpu: int | None
    """Workers for which that GPU has memory; None without one."""
    search_bytes: int | None
    """Memory that a search for layouts takes in each worker; 0 without."""
    targets: tuple[dict[str, Any], ...]
    """What a sample for each coverage target of a mask class costs, in images (see
    `target_costs.TargetCost`); none before the fit."""
    warnings: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    """What a run needs that is not here, such as credentials, in the order of a run."""

    @property
    def exit_code(self) -> int:
        """How a run would end for what is missing; 0 if nothing is."""
        return self.missing[0].exit_code if self.missing else 0


@check_arguments
def estimate_job(job: Job, *, add: int | None = None, once: str | None = None) -> Estimate:
    """Plan a job without writing anything: a checked one, the path of its file, or its plain values.

    Args:
        job: The job.
        add: Samples to add to those that are planned in the output, instead of `dataset.num_samples`.
        once: Name of that step of growth; nothing is added if it is planned already.

    Raises:
        JobError: If the job breaks a rule, or asks for fewer samples than its output already plans.
        StoreError: If the output holds something else.
    """
    growth = check_growth(add, once)
    warnings: list[str] = []
    spec, num_done, num_shards, unreachable = _count_shards(as_job(job), growth, warnings)
    measured, failure = _calibrate(spec, warnings)
    warnings += _reader_warnings(spec, num_shards)
    size, rate, share, passes, fit_s = (
        measured[name] if measured else None
        for name in ("bytes_per_pair", "pairs_per_s", "accepted_share", "passes_per_pair", "fit_s")
    )
    warnings += _room_warnings(spec, size, num_done)
    warnings += _measured_warnings(spec, measured) if measured else []
    num_actors = num_workers_here(spec.run)
    kept, left = 1.0 if share is None else share, spec.dataset.num_samples - num_done
    return Estimate(
        name=spec.name,
        output_uri=spec.output.uri,
        num_samples=spec.dataset.num_samples,
        num_shards=num_shards,
        num_done=num_done,
        num_actors=num_actors,
        device=measured["device"] if measured else None,
        resolution_px=int(measured["resolution_px"]) if measured else None,
        pairs_per_s=round(rate, 2) if rate else None,
        bytes_in_all=_bytes_in_all(size, spec.dataset.num_samples, num_shards),
        seconds_left=(
            round(left / (rate * kept * num_actors) + (fit_s or 0), 1) if rate and kept else None
        ),
        fit_s=None if fit_s is None else round(fit_s, 1),
        accepted_share=None if share is None else round(share, 3),
        passes_per_pair=round(passes / kept, 2) if passes and kept else None,
        seconds_per_pair=round(1 / (rate * kept), 5) if rate and kept else None,
        worker_bytes=_worker_bytes(spec, measured) if measured else None,
        gpu_bytes=measured["gpu_bytes"] if measured else None,
        workers_per_gpu=measured["workers_per_gpu"] if measured else None,
        search_bytes=int(measured["search_bytes"]) if measured else None,
        targets=tuple(measured["targets"]) if measured else (),
        warnings=tuple(warnings),
        missing=find_missing(spec, unreachable, failure),
    )


def _bytes_in_all(bytes_per_pair: float | None, num_samples: int, num_shards: int) -> int | None:
    if bytes_per_pair is None:
        return None
    return int(bytes_per_pair * num_samples) + num_shards * _TAR_END_BYTES


def _worker_bytes(spec: JobSpec, measured: dict[str, Any]) -> int:
    return int(measured["worker_bytes"]) + (_RAY_BYTES if spec.run.executor == "ray" else 0)


def _measured_warnings(spec: JobSpec, measured: dict[str, Any]) -> list[str]:
    found = _rejection_warnings(spec, measured) + find_fit_warnings(spec, measured["fit_s"])
    return found + _budget_warnings(spec, measured)


def _count_shards(
    spec: JobSpec, growth: Growth | None, warnings: list[str]
) -> tuple[JobSpec, int, int, UnreachableError | None]:
    """The job as it grows, how many samples exist and shards are planned, and why that is unknown."""
    rounds: list[Round] = []
    unreachable = None
    try:
        store = open_store(spec.output.uri)
        rounds = find_rounds(store)
        if not rounds:
            check_new_dataset(store)
    except UnreachableError as error:
        unreachable = error
        warnings.append("nothing is known of what the output holds")
    spec = grow(spec, rounds, growth)
    plain = math.ceil(spec.dataset.num_samples / spec.dataset.samples_per_shard)
    if not rounds:
        make_plan(spec, make_identity(spec, weights_sha256="", segmenter_sha256=""))  # may refuse
        return spec, 0, plain, unreachable
    theirs = rounds[0].identity
    try:
        identity = identify_job(  # planning looks into neither weights nor segmenter
            spec,
            weights_sha256=theirs["generator"]["weights_sha256"],
            files=theirs["segmenter"].get("files", {}),
            theirs=theirs,
            **planned_digests(theirs),
        )
    except PluginError as error:  # it may be installed where the job will run
        warnings.append(f"the output holds a dataset, not compared with this job: {error}")
        return spec, 0, plain, None
    check_same_dataset(store, identity, theirs)
    plan = make_plan(spec, identity, rounds)
    return spec, find_committed(store, plan).num_samples, plan.num_shards, None


def _rejection_warnings(spec: JobSpec, measured: dict[str, Any]) -> list[str]:
    """Whether more of the tried samples were rejected than the job has to spare."""
    share, rejected = measured["accepted_share"], measured["rejected"]
    if share is None or share * spec.dataset.oversample >= 1:
        return []
    counts = ", ".join(f"{reason}: {count}" for reason, count in rejected.items())
    enough = f"at least {math.ceil(10 / share) / 10:g}" if share else "more, or loosen the rules"
    return [
        f"{1 - share:.0%} of the tried samples were rejected ({counts}): shards will be short; set "
        f"dataset.oversample to {enough}"
    ]


def _budget_warnings(spec: JobSpec, measured: dict[str, Any]) -> list[str]:
    """Whether the budget is less than what the dearest target is likely to take."""
    coverage, needed = spec.dataset.coverage, 0.0
    for target in measured["targets"]:
        if (by_rejection := target["by_rejection"]) is None:
            continue
        cheapest = min(by_rejection, target["by_search"] or math.inf)
        short = target["wanted"] - spec.dataset.num_samples / by_rejection
        needed = max(needed, short * cheapest)
    if coverage is None or needed <= coverage.budget:
        return []
    return [
        f"dataset.coverage.budget: {coverage.budget:,} images, and the targets are likely to take "
        f"{math.ceil(needed):,}: some will not be met"
    ]


def _room_warnings(spec: JobSpec, bytes_per_pair: float | None, num_done: int) -> list[str]:
    """What stands in the way of the missing samples in a local folder."""
    folder = local_path(spec.output.uri)
    if folder is None:
        return []
    folder = nearest_folder(folder)
    needed = (bytes_per_pair or 0) * (spec.dataset.num_samples - num_done)
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return []
    return [
        f"output.uri: the dataset takes {needed / 1e6:,.0f} MB more, and {free / 1e6:,.0f} MB are free "
        f"at {folder}; make room, or choose another folder"
    ]


def _reader_warnings(spec: JobSpec, num_shards: int) -> list[str]:
    found = []
    if num_shards < _FEW_SHARDS and spec.dataset.num_samples >= 8 * _FEW_SHARDS:
        found.append(
            f"only {num_shards} shards: a training with more loader workers than shards leaves some "
            "idle; lower dataset.samples_per_shard"
        )
    if spec.dataset.latents.sameness:
        found.append(spec.dataset.latents.sameness)
    if spec.dataset.encode.image == "jpeg":
        found.append("jpeg images: masks fit the pixels before compression, not after")
    if spec.dataset.accept != type(spec.dataset.accept)() and spec.dataset.oversample == 1:
        found.append(
            "dataset.accept drops samples and dataset.oversample is 1: shards will come out short"
        )
    return found


def _calibrate(
    spec: JobSpec, warnings: list[str]
) -> tuple[dict[str, Any] | None, FactoryError | None]:
    """Measure a few batches in a child process; None, with a warning, if that cannot be done.

    Returns:
        The measurements, and the error with which a run on this machine would end.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "factory.run.calibrate"],
        input=spec.model_dump_json(exclude_unset=True),
        capture_output=True,
        text=True,
        timeout=_CALIBRATION_LIMIT_S,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(finished.stdout)
    except ValueError as error:
        lines = finished.stderr.strip().splitlines() or ["no message"]
        raise FactoryError(f"calibration failed: {lines[-1]}") from error
    if "error" not in answer:
        warnings += answer["warnings"]
        return answer, None
    failure = restore_error(answer)
    is_wrong = isinstance(failure, JobError) and not isinstance(failure, MissingWeightsError)
    # Only layouts are read from a store here.
    if is_wrong or (isinstance(failure, StoreError) and not isinstance(failure, UnreachableError)):
        raise failure
    warnings.append(f"no estimate of time and size: {failure}")
    return None, None if must_fetch(spec.dataset.generator) else failure
