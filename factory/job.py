"""STORY 1: a checked spec becomes a manifest.

The steps, in order: find the weights, require that the output is empty or holds this dataset, fit the
segmenter once, write the plan, make the missing shards, write the views. Running the job again resumes
it; with a larger `num_samples`, or by a step (`add`), the dataset grows.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from factory.arguments import check_arguments
from factory.data import ShardTask
from factory.dataset.committed import SnapshotKeeper, find_committed
from factory.dataset.lease import holding_lease
from factory.dataset.planned_files import SEGMENTER, PlannedFile, other_fit
from factory.dataset.quarantine import Attempts, find_quarantined, quarantined_indices
from factory.dataset.sizes import check_sizes
from factory.dataset.state import (
    DatasetState,
    check_same_dataset,
    find_rounds,
    replace_coverage_spec,
)
from factory.dataset.stored_records import find_stored_state, sizes_of
from factory.dataset.views import finish_beside_others, make_manifest, write_views
from factory.errors import IncompleteError
from factory.fit.fitted import find_fitted, names_fitted_file, needs_fitting
from factory.fit.named_files import digest_named_files
from factory.fit.pixels.pool import one_thread
from factory.generate.base import check_generator_kind
from factory.generate.weights.find import LocalWeights, find_weights
from factory.log import log_event
from factory.manifest.paths import (
    JOB_PATH,
    LABELS_PATH,
    SEGMENTER_PATH,
    round_path,
)
from factory.manifest.records import Manifest
from factory.plan.growth import Growth, check_growth, grow
from factory.plan.rounds import Plan, encode_round, find_ready
from factory.provenance import new_run_id
from factory.run.base import Observer, Outcome, load_executor, no_more
from factory.run.before_fit import check_before_fit
from factory.run.beside import digest_of_bytes, find_beside
from factory.run.claim import claim_round
from factory.run.figures import drawing
from factory.run.fitting import FitObserver, finish_for, fit_for, make_worker_config
from factory.run.job_folder import FilesHolder, find_holder_beside
from factory.run.job_identity import identify_job
from factory.run.progress import progress_reporter
from factory.run.reporting import reporting
from factory.run.signals import stop_on_signals
from factory.run.step_note import noting_attempts
from factory.run.target_rounds import plan_for_targets
from factory.run.watch import MakerWatch, WatchedRun, find_driver_maker, find_listed
from factory.run.worker import build_maker
from factory.segment.methods import check_methods, find_doubts, has_file
from factory.spec import JobSpec
from factory.spec.read import Job, as_job
from factory.spec.stored_job import encode_job
from factory.store import Store, open_store
from factory.store.addresses import local_path


@runtime_checkable
class JobObserver(FitObserver, Observer, Protocol):
    """Callbacks during a whole job: downloads, fit, and shards."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that is ready to run: weights found, segmenter fitted, plan written."""

    spec: JobSpec
    store: Store
    weights: LocalWeights
    plan: Plan


@check_arguments
def run_job(
    job: Job,
    observer: JobObserver | None = None,
    *,
    progress: bool = True,
    add: int | None = None,
    once: str | None = None,
) -> Manifest:
    """Make the dataset of a job, or its missing shards; returns the manifest.

    Args:
        job: A validated job, the path of its file, or plain values.
        observer: Callbacks, called on this thread.
        progress: Without an observer, show progress: bars on a terminal, else log lines.
        add: Samples to add to those that are planned in the output, instead of `dataset.num_samples`.
        once: Name of that step, such as a schedule's date. It is planned once: another call with it,
            later or at the same time, makes what is missing and plans nothing.

    Raises:
        JobError, PluginError, StoreError: If the job cannot start; nothing was changed.
        StoreError: If the output fails, or its listing lacks shards that are committed.
        DamageError: If a committed shard is missing or has another size; the others are kept.
        IncompleteError: If shards are in quarantine at the end; all others are committed.
        Interrupted: If a signal requested a stop; committed shards are kept.
    """
    spec, growth = as_job(job), check_growth(add, once)
    with ExitStack() as stack:
        stack.enter_context(one_thread())  # in a notebook torch has many, and sums depend on them
        if observer is None:
            observer = stack.enter_context(progress_reporter(progress=progress))
        report = stack.enter_context(reporting(spec))
        with noting_attempts(spec, growth), drawing(spec, observer) as watched:
            manifest = _run(spec, watched, growth)
        report.completed(manifest)
        return manifest


def _run(spec: JobSpec, observer: JobObserver, growth: Growth | None) -> Manifest:
    stop = threading.Event()
    with stop_on_signals(stop):
        prepared = prepare_job(spec, observer, stop, growth)
        run_id = new_run_id()
        try:
            with holding_lease(prepared.store, run_id, needed=spec.output.single_writer):
                outcome, keeper = _make_missing(prepared, run_id, observer, stop)
        finally:
            prepared.store.clean_up(run_id)
        state = find_listed(prepared.store, prepared.plan, keeper)
        manifest = finish_beside_others(prepared.store, state)
        check_sizes(prepared.store, sizes_of(state.records))
        prepared.store.clean_up(run_id)
    if outcome.failures:
        name, reason = next(iter(outcome.failures.items()))
        raise IncompleteError(
            f"{prepared.store.uri}: {len(outcome.failures)} of {state.plan.num_shards} shards are "
            f"in quarantine, the first is {name} ({reason}); the rest is committed: mend the cause, "
            f"then `factory quarantine retry {prepared.store.uri}` and run the job again"
        )
    return manifest


def prepare_job(
    spec: JobSpec,
    observer: JobObserver,
    stop: threading.Event | None = None,
    growth: Growth | None = None,
) -> Prepared:
    """Find weights, check the output, fit the segmenter, and write the plan.

    Raises:
        Interrupted: If `stop` was set during the fit, which the next call resumes.
        WeightsError: If the weights are missing or have another SHA-256 than the job states.
        JobError: If a fitted file, labels, layouts or backgrounds do not fit this job, or a class name
            is unknown.
        StoreError: If the output holds another dataset; the message lists what differs.
        DamageError: If its segmenter, layouts or backgrounds are damaged.
    """
    check_methods(spec.dataset.segmenter)
    check_generator_kind(spec.dataset.generator.kind)
    if spec.dataset.latents.sameness:
        log_event("samples_alike", level=logging.WARNING, why=spec.dataset.latents.sameness)
    store = open_store(spec.output.uri, single_writer=spec.output.single_writer)
    rounds = find_rounds(store)
    weights = find_weights(spec.dataset.generator, observer.downloading)
    theirs = rounds[0].identity if rounds else {}
    beside_job = None if rounds else find_holder_beside(spec, weights.sha256)
    holder = beside_job or FilesHolder(store, theirs)
    files = digest_named_files(spec.dataset, holder.named_files)
    identify: Callable[..., dict[str, Any]] = partial(
        identify_job, spec, weights_sha256=weights.sha256, files=files, theirs=theirs
    )
    grown = grow(spec, rounds, growth)
    check_before_fit(grown, store, rounds, identify, is_made=beside_job is not None)
    fitted = _fitted_segmenter(spec, holder, weights, observer, stop)
    find = partial(find_beside, grown, weights, on_progress=observer.fitting, stop=stop)
    beside = find(fitted, store=holder.store, theirs=holder.identity)
    digests = {file.argument: digest_of_bytes(data) for file, data in beside.items()}
    identity = identify(**digests)
    digest = digests[SEGMENTER.argument]
    if rounds:
        is_same = digest == theirs.get("segmenter", {}).get("sha256", "")
        if not is_same and not names_fitted_file(spec.dataset):
            raise other_fit(store, digest)
        check_same_dataset(store, identity, theirs)
    spec, plan = claim_round(store, spec, identity, rounds, growth)
    # The round came first and fixed the identity; which driver creates the rest does not matter.
    _write_beside(store, beside)
    store.create(
        JOB_PATH, encode_job(spec, root=local_path(store.uri), weights_sha256=weights.sha256)
    )
    replace_coverage_spec(store, spec.dataset.coverage)
    return Prepared(spec, store, weights, plan)


def _write_beside(store: Store, beside: Mapping[PlannedFile, bytes]) -> None:
    for file, data in beside.items():
        if data:
            store.create(file.path, data)


def finish_job(store: Store, state: DatasetState | None = None) -> Manifest:
    """Write all views (see `dataset/views.py`), unless they are current; returns the manifest.

    `state` is what the store's plan and receipts say; it is read from the store if not given.
    """
    manifest = make_manifest(store, state or find_stored_state(store))
    write_views(store, manifest)
    return manifest


def _make_missing(
    prepared: Prepared, run_id: str, observer: JobObserver, stop: threading.Event
) -> tuple[Outcome, SnapshotKeeper]:
    """Make the missing shards; returns the failures, and the receipts known so far."""
    spec, store, plan = prepared.spec, prepared.store, prepared.plan
    done = find_committed(store, plan, mend=True)
    keeper = SnapshotKeeper(store, done)
    observer.started(plan.num_samples, done.num_samples)
    quarantined = find_quarantined(store, done.indices)
    failures = {failure.name: failure.reason for failure in quarantined}
    tasks = plan.without(done.indices | {failure.shard_index for failure in quarantined})
    config = replace(
        make_worker_config(spec, prepared.weights),
        output_uri=spec.output.uri if "://" in spec.output.uri else store.uri,
        single_writer=spec.output.single_writer,
        segmenter_path=SEGMENTER_PATH if has_file(spec.dataset.segmenter) else "",
        run_id=run_id,
    )
    if not tasks and store.read(LABELS_PATH) is None:
        build_maker(config)  # writes the label table
    # Searches that wait for their layouts come last, also where there are no targets any more.
    ready = find_ready(plan, tasks, done.indices)
    targeted = spec.dataset.coverage is not None or len(ready) < len(tasks)
    more = partial(_next_tasks, prepared, observer, keeper) if targeted else no_more
    tasks = ready or list(more())
    outcome = Outcome()
    if tasks:
        makers = MakerWatch(done.makers)
        makers.joined(find_driver_maker(spec.run, spec.dataset.encode))
        watched = WatchedRun(observer, keeper, makers)
        execute = load_executor(spec.run.executor)
        outcome = execute(tasks, config, watched, stop, Attempts(store, run_id), more)
    return Outcome(failures | outcome.failures), keeper


def _next_tasks(
    prepared: Prepared, observer: JobObserver, keeper: SnapshotKeeper
) -> list[ShardTask]:
    """Plan the next round for the coverage targets; no tasks if all are met or out of reach.

    Another driver may have planned that round already, and made some of it. While a shard is in
    quarantine no round is planned: the next one follows from complete rounds only.
    """
    store = prepared.store
    while True:
        state = find_listed(prepared.store, prepared.plan, keeper)
        missing = state.plan.without(state.done)
        if not missing:
            added = plan_for_targets(prepared.spec.dataset, store, state)
            if added is None:
                return []
            store.create(round_path(added.round_index), encode_round(added))
            continue  # read it back: another driver may have been first
        given_up = quarantined_indices(store)
        tasks = find_ready(state.plan, missing, state.done)
        tasks = [task for task in tasks if task.shard_index not in given_up]
        if tasks:
            newest = state.plan.rounds[-1]
            goal = newest.steering.goal if newest.steering else ""
            log_event("planned", round=newest.round_index, samples=newest.num_samples, target=goal)
            observer.started(state.plan.num_samples, state.num_samples)
        return tasks


def _fitted_segmenter(
    spec: JobSpec,
    holder: FilesHolder,
    weights: LocalWeights,
    observer: JobObserver,
    stop: threading.Event | None,
) -> bytes:
    """The segmenter file: from a dataset that has it, else finished from a fit; empty without one."""
    if not has_file(spec.dataset.segmenter):
        return b""
    stored = holder.store.read(SEGMENTER_PATH)
    if stored is not None and (holder.is_beside or not names_fitted_file(spec.dataset)):
        return stored
    fitted = find_fitted(spec.dataset, weights.sha256) if needs_fitting(spec.dataset) else b""
    if fitted is None:
        log_event("fit_started", segmenter=spec.dataset.segmenter.kind)
        fitted = fit_for(spec, weights, observer.fitting, stop or threading.Event())
        for doubt in find_doubts(spec.dataset.segmenter, fitted):
            log_event("fit_doubt", level=logging.WARNING, doubt=doubt)
    return finish_for(spec, weights, fitted, observer.fitting, stop, stored=stored)
