"""Plan and apply repairs; garbage-collect orphans. No sample is generated here.

Both return steps, which are applied separately (dry run). A receipt is removed before its tar, so
that a crash in between leaves an orphaned tar and never a receipt without a shard.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from factory.care.examine import examine_shard, find_view_problem, orphan_problem
from factory.data import ShardTask
from factory.dataset.committed import find_committed
from factory.dataset.expected import find_expected
from factory.dataset.planned_files import PLANNED_FILES, PlannedFile
from factory.dataset.quarantine import release
from factory.dataset.receipts import (
    BLOCK,
    check_snapshots,
    examine_receipts,
    find_record,
    path_of_block,
)
from factory.dataset.state import DatasetState, find_plan
from factory.errors import Problem
from factory.make.commit import adopt_shard, read_orphan
from factory.manifest.paths import (
    ATTEMPTS,
    MANIFEST_PATH,
    QUARANTINE,
    SHARDS,
    SIDECARS,
    SPLITS,
    index_path,
    receipt_path,
    shard_index_of,
    sidecar_path,
    tar_path,
)
from factory.manifest.records import ShardRecord
from factory.pack.contents import Expected
from factory.pack.facts import encode_sidecar
from factory.provenance import new_run_id
from factory.store import Store, StoredFile

_THREADS = 8
_LISTS = (MANIFEST_PATH, *map(index_path, SPLITS))


@dataclass(frozen=True, slots=True)
class Step:
    """One planned change to a dataset."""

    problem: Problem
    """The problem; its remedy describes the change."""
    do: Callable[[], object] | None = None
    """Applies the change; None if `repair` cannot do it; the remedy says who can."""


def find_repairs(store: Store) -> list[Step]:
    """Plan repairs for every shard that differs from its receipt, and every orphaned tar.

    Raises:
        StoreError: If there is no dataset, or a receipt belongs to another one.
    """
    plan = find_plan(store)
    good, unreadable = examine_receipts(store, plan)
    records = {record.shard_index: record for record in good}
    steps = [_plan_receipt_removal(store, problem) for problem in unreadable]
    doubtful = {shard_index_of(problem.path) for problem in unreadable}
    tars = set(store.names(SHARDS))
    tasks = plan.tasks()
    expected = find_expected(store, plan) if tars else Expected(0, [], 0)

    def steps_for(task: ShardTask) -> list[Step]:
        record = records.get(task.shard_index)
        if record is not None:
            return _plan_shard_repair(store, task, record, expected)
        is_orphan = tar_path(task.name, task.split) in tars and task.shard_index not in doubtful
        return [_plan_orphan_repair(store, task, expected)] if is_orphan else []

    with ThreadPoolExecutor(_THREADS) as threads:
        steps += [step for found in threads.map(steps_for, tasks) for step in found]
    strays = sorted(tars - {tar_path(task.name, task.split) for task in tasks})
    steps += [Step(orphan_problem(path)) for path in strays]
    for path, problem in check_snapshots(store, records.values()).items():
        will = replace(problem, remedy="remove it: the next run makes it again")
        steps.append(Step(will, partial(store.remove, path)))
    for file in PLANNED_FILES:
        found = file.find_problem(store, plan.rounds[0].identity)
        steps += [_plan_file_repair(store, file, found)] if found else []
    return steps or _plan_view_repair(store, DatasetState(plan, tuple(good)))


def _plan_view_repair(store: Store, state: DatasetState) -> list[Step]:
    """Plan to remove a view that is wrong, of a dataset whose shards are good."""
    problem = find_view_problem(store, state) if state.records else None
    if problem is None:
        return []
    will = replace(problem, remedy="remove it: the next run makes it again")
    if problem.path in _LISTS:  # what is wrong with one may be with others
        return [Step(will, partial(_remove_lists, store))]
    return [Step(will, partial(store.remove, problem.path))]


def _plan_shard_repair(
    store: Store, task: ShardTask, record: ShardRecord, expected: Expected
) -> list[Step]:
    examined = examine_shard(store, record, task, expected)
    steps = []
    for problem in examined.problems:
        match problem.kind:
            case "receipt":
                steps.append(_plan_receipt_removal(store, problem))
            case "table":
                assert examined.contents is not None  # otherwise its table was not checked
                rows, measures = examined.contents.rows, examined.contents.measures
                rebuild = partial(store.replace, problem.path, encode_sidecar(rows, measures))
                steps.append(Step(replace(problem, remedy="rebuild it from its tar"), rebuild))
            case _:  # the whole shard is removed, whatever else is wrong with it
                return [_plan_removal(store, task, problem)]
    return steps


def _plan_file_repair(store: Store, file: PlannedFile, problem: Problem) -> Step:
    """Plan to remove a damaged file that the plan names; only a run can make one that is missing."""
    if problem.kind == "missing":
        return Step(problem)
    remedy = f"remove it, then {file.again}"
    return Step(replace(problem, remedy=remedy), partial(store.remove, problem.path))


def _plan_receipt_removal(store: Store, problem: Problem) -> Step:
    """Plan to remove an invalid receipt; its tar becomes an orphan, which the next run handles.

    Lists of shards go too, because the shard may be in them; the end of the next run writes them.
    """

    def forget() -> None:
        _remove_lists(store)
        block = shard_index_of(problem.path) // BLOCK
        store.remove(path_of_block(block))
        store.remove(problem.path)

    return Step(replace(problem, remedy="remove it, then run the job again"), forget)


def _plan_removal(store: Store, task: ShardTask, problem: Problem) -> Step:
    """Plan to remove a shard, receipt first, and lists of shards; the next run makes them again."""

    def forget() -> None:
        _remove_lists(store)
        store.remove(path_of_block(task.shard_index // BLOCK))
        store.remove(receipt_path(task.round_index, task.shard_index))
        store.remove(problem.path)

    remedy = "remove its receipt and itself, then run the job again"
    return Step(replace(problem, remedy=remedy), forget)


def _remove_lists(store: Store) -> None:
    """Remove manifest and lists of shards: they may name a shard that is no more."""
    for path in _LISTS:
        store.remove(path)


def _plan_orphan_repair(store: Store, task: ShardTask, expected: Expected) -> Step:
    path = tar_path(task.name, task.split)
    with store.fetch(path) as tar:
        gone = [Problem(path, "missing", "gone")]
        problems = gone if tar is None else read_orphan(tar, task, expected)[1].problems
    if not problems:
        adopt = partial(adopt_shard, store, task, expected, new_run_id())
        found = "whole, but without a receipt"
        return Step(Problem(path, "no_receipt", found, "write its receipt"), adopt)

    def remove() -> None:
        if find_record(store, task) is None:
            store.remove(path)
            release(store, {task.shard_index})

    found = f"no receipt, and damaged ({problems[0].finding})"
    return Step(Problem(path, "no_receipt", found, "remove it, then run the job again"), remove)


def find_garbage(store: Store, older_than_s: float) -> list[Step]:
    """Plan garbage collection: unfinished files, orphaned tars and tables, resolved attempts.

    Nothing that was written within the last `older_than_s` seconds is touched: an active run may
    need it.

    Raises:
        StoreError: If there is no dataset.
    """
    plan = find_plan(store)
    done = find_committed(store, plan).indices
    limit = time.time() - older_than_s
    owners = {
        path(task.name, task.split): task
        for task in plan.tasks()
        for path in (tar_path, sidecar_path)
    }
    steps = []
    for file in store.leftovers():
        if file.changed_at < limit:
            remedy = "abort the upload" if file.upload_id else "remove it"
            problem = Problem(file.path, "unfinished", "unfinished", remedy)
            steps.append(Step(problem, partial(store.discard, file)))
    for file in [*store.files(SHARDS), *store.files(SIDECARS)]:
        owner = owners.get(file.path)
        if file.changed_at < limit and (owner is None or owner.shard_index not in done):
            problem = Problem(file.path, "no_receipt", "no receipt names it", "remove it")
            steps.append(Step(problem, partial(_remove_orphan, store, file, owner)))
    for file in [*store.files(ATTEMPTS), *store.files(QUARANTINE)]:
        if file.changed_at < limit and shard_index_of(file.path) in done:
            problem = Problem(file.path, "outdated", "its shard was made after all", "remove it")
            steps.append(Step(problem, partial(store.remove, file.path)))
    return steps


def _remove_orphan(store: Store, file: StoredFile, owner: ShardTask | None) -> None:
    """Remove an orphaned file, unless its shard was committed since the plan was made."""
    if owner is None or find_record(store, owner) is None:
        store.remove(file.path)
