"""STORY 1: a checked spec becomes a manifest.

The steps, in order: find the weights, make sure that the output is empty or holds this very
dataset, fit the segmenter once, write the plan, make the shards that are missing, gather the views.
Running it again is the resume; raising `num_samples` is the growth.
"""

import hashlib
import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml
from pydantic import TypeAdapter

from factory.card import encode_card
from factory.data import ShardTask
from factory.dataset import (
    JOB_PATH,
    SEGMENTER_PATH,
    account_of,
    find_coverage_spec,
    find_holdings,
    find_records,
    find_rounds,
    make_manifest,
    refuse_another,
    round_path,
    write_views,
)
from factory.errors import IncompleteError
from factory.fit.fitted import check_kind, find_fitted, fit_segmenter, needs_fitting
from factory.generate.weights import LocalWeights, find_weights
from factory.log import log_event
from factory.manifest import LABELS_PATH, Manifest
from factory.plan import Plan, Round, check_names, make_identity, make_plan, plain_samples
from factory.preview import CARD_PICTURE, make_preview
from factory.provenance import new_run_id
from factory.run import EXECUTORS
from factory.run.base import Observer, Outcome, WorkOrder, no_more
from factory.run.signals import stop_on_signals
from factory.run.worker import build_maker, device_of
from factory.spec import CoverageSpec, JobSpec
from factory.steer import next_round
from factory.store import Store, open_store
from factory.targets import TARGETS_PATH


@runtime_checkable
class JobObserver(Observer, Protocol):
    """Is told what happens during a whole job."""

    def downloading(self, num_bytes: int, total_bytes: int) -> None:
        """Weights are being fetched; `total_bytes` is 0 if the server does not say."""

    def fitting(self, num_done: int, num_images: int) -> None:
        """The segmenter is being fitted."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that is ready to run: everything is found, fitted and claimed."""

    spec: JobSpec
    store: Store
    weights: LocalWeights
    plan: Plan


def run_job(spec: JobSpec, observer: JobObserver) -> Manifest:
    """Make the dataset that `spec` asks for, or what is missing of it.

    Raises:
        JobError, PluginError, StoreError: If the job cannot begin; nothing was changed.
        IncompleteError: If shards are missing at the end; what is made is kept.
        Interrupted: If a signal asked to stop; what is made is kept.
    """
    stop = threading.Event()
    with stop_on_signals(stop):
        prepared = prepare_job(spec, observer)
        run_id = new_run_id()
        try:
            outcome = _make_missing(prepared, run_id, observer, stop)
        finally:
            prepared.store.clean_up(run_id)
        manifest = finish_job(prepared.store)
        prepared.store.clean_up(run_id)
    if outcome.failures:
        num_shards = len(find_holdings(prepared.store).plan.tasks())
        name, reason = next(iter(outcome.failures.items()))
        raise IncompleteError(
            f"{prepared.store.uri}: {len(outcome.failures)} of {num_shards} shards "
            f"could not be made, the first is {name} ({reason}); the rest is committed: mend the "
            "cause and run the job again"
        )
    return manifest


def prepare_job(spec: JobSpec, observer: JobObserver) -> Prepared:
    """Find weights, check the output, fit the segmenter, and write the plan.

    Raises:
        WeightsError: If the weights are missing or are not those the job demands.
        StoreError: If the output holds another dataset; the message lists what differs.
    """
    check_kind(spec.dataset)
    store = open_store(spec.output.uri)
    rounds = find_rounds(store)
    weights = find_weights(spec.dataset.generator, observer.downloading)
    if rounds:
        theirs = rounds[0].identity
        before_fit = make_identity(
            spec,
            weights_sha256=weights.sha256,
            segmenter_sha256=theirs.get("segmenter", {}).get("sha256", ""),
        )
        refuse_another(store, before_fit, theirs)
    fitted = _fitted_segmenter(spec, store, weights, observer.fitting)
    digest = hashlib.sha256(fitted).hexdigest() if fitted else ""
    identity = make_identity(spec, weights_sha256=weights.sha256, segmenter_sha256=digest)
    if rounds:
        refuse_another(store, identity, rounds[0].identity)
    plan = _claim(store, spec, identity)
    if fitted:
        store.create(SEGMENTER_PATH, fitted)
    store.create(JOB_PATH, _encode_job(spec))
    if spec.dataset.coverage != find_coverage_spec(store):
        targets = TypeAdapter(CoverageSpec | None).dump_json(spec.dataset.coverage, indent=1)
        store.replace(TARGETS_PATH, targets + b"\n")
    return Prepared(spec, store, weights, plan)


def finish_job(store: Store) -> Manifest:
    """Write everything that is derived from the receipts: manifest, index, preview, card."""
    manifest = make_manifest(store)
    write_views(store, manifest)
    preview = make_preview(store, manifest)
    if preview is not None:
        store.replace(CARD_PICTURE, preview)
    store.replace("README.md", encode_card(manifest))
    return manifest


def _make_missing(
    prepared: Prepared, run_id: str, observer: JobObserver, stop: threading.Event
) -> Outcome:
    spec, store, plan = prepared.spec, prepared.store, prepared.plan
    records = find_records(store, plan.dataset_id)
    observer.started(plan.num_samples, sum(record.num_samples for record in records))
    tasks = plan.without({record.shard_index for record in records})
    order = WorkOrder(
        dataset=spec.dataset,
        run=spec.run,
        output_uri=spec.output.uri if "://" in spec.output.uri else store.uri,
        weights_sha256=prepared.weights.sha256,
        segmenter_path=SEGMENTER_PATH if needs_fitting(spec.dataset) else "",
        run_id=run_id,
        import_paths=tuple(path or str(Path.cwd()) for path in sys.path),
    )
    if not tasks and store.read(LABELS_PATH) is None:
        build_maker(order)  # writes the table
    more = no_more if spec.dataset.coverage is None else partial(_next_tasks, prepared, observer)
    tasks = tasks or list(more())
    if not tasks:
        return Outcome()
    module, _, name = EXECUTORS[spec.run.executor].partition(":")
    execute = getattr(importlib.import_module(module), name)
    outcome: Outcome = execute(tasks, order, observer, stop, more)
    return outcome


def _next_tasks(prepared: Prepared, observer: JobObserver) -> list[ShardTask]:
    """The shards of the next round for the coverage targets; none if they are met or out of reach.

    Another driver may have planned that round, and made some of it.
    """
    store = prepared.store
    while True:
        holdings = find_holdings(store)
        missing = holdings.plan.without(holdings.done)
        if not missing:
            account = account_of(store, holdings)
            oversample = prepared.spec.dataset.oversample
            added = next_round(holdings.plan, account, oversample=oversample) if account else None
            if added is None:
                return []
            check_names(Plan(added.dataset_id, (*holdings.plan.rounds, added)))
            store.create(round_path(added.round_index), _encode_round(added))
            continue  # theirs or ours: the store has the round
        newest = holdings.plan.rounds[-1]
        goal = newest.steering.goal if newest.steering else ""
        log_event("planned", round=newest.round_index, samples=newest.num_samples, target=goal)
        made = sum(record.num_samples for record in holdings.records)
        observer.started(holdings.plan.num_samples, made)
        return missing


def _fitted_segmenter(
    spec: JobSpec, store: Store, weights: LocalWeights, on_fit: Callable[[int, int], None]
) -> bytes:
    """The segmenter file from the output, the cache, or a new fit; empty if none is needed."""
    if not needs_fitting(spec.dataset):
        return b""
    stored = store.read(SEGMENTER_PATH) or find_fitted(spec.dataset, weights.sha256)
    if stored is not None:
        return stored
    device = device_of(spec.run)
    log_event("fit_started", segmenter=spec.dataset.segmenter.kind)
    return fit_segmenter(spec.dataset, weights, device=device, on_progress=on_fit)


def _claim(store: Store, spec: JobSpec, identity: dict[str, Any]) -> Plan:
    """Write the job's next round, unless another driver was faster: then use theirs."""
    while True:
        plan = make_plan(spec, identity, find_rounds(store))
        newest = plan.rounds[-1]
        if store.create(round_path(newest.round_index), _encode_round(newest)):
            log_event("planned", round=newest.round_index, samples=newest.num_samples)
            return plan
        rounds = find_rounds(store)
        refuse_another(store, identity, rounds[0].identity)
        if plain_samples(rounds) >= spec.dataset.num_samples:
            return make_plan(spec, identity, rounds)


def _encode_round(round_: Round) -> bytes:
    return (round_.model_dump_json(indent=1) + "\n").encode()


def _encode_job(spec: JobSpec) -> bytes:
    document = spec.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(document, sort_keys=False).encode()
