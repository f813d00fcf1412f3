"""Put right what `verify` finds, and clear away what nobody needs. Nothing here makes a sample.

Both first say what they would do. A tar is only ever removed when no receipt names it: a receipt goes
before its tar.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from factory.commit import adopt_shard, find_record, read_orphan, sidecar_path, tar_path
from factory.data import ShardTask
from factory.dataset import find_labels, find_plan
from factory.identity import digest_of_file
from factory.manifest import ShardRecord, receipt_path
from factory.pack.facts import encode_sidecar
from factory.pack.inside import read_contents
from factory.plan import Plan
from factory.provenance import new_run_id
from factory.quarantine import ATTEMPTS, QUARANTINE
from factory.receipts import check_snapshots, list_receipts, read_receipts, snapshot_path
from factory.receipts import BLOCK, find_done
from factory.store import Store, StoredFile
from factory.verify import sidecar_is_good


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do about a dataset."""

    path: str
    """The file it is about."""
    action: str
    """What will be done, and why."""
    do: Callable[[], None]
    """Does it."""


def plan_repair(store: Store) -> Iterator[Step]:
    """What to do about every shard that is not as its receipt says, and every tar without one.

    Raises:
        StoreError: If there is no dataset, or a receipt belongs to another one.
    """
    plan = find_plan(store)
    names = list_receipts(store, plan)
    records = {r.shard_index: r for r in read_receipts(store, names, plan.dataset_id)}
    tars = set(store.names("data"))
    num_classes = len(find_labels(store).labels) if tars else 0
    for task in plan.tasks():
        record = records.get(task.shard_index)
        if record is not None:
            yield from _mend(store, task, record, num_classes)
        elif tar_path(task) in tars:
            yield _settle_orphan(store, task, num_classes)
    for problem in check_snapshots(store, records.values()):
        path = problem.partition(":")[0]
        yield Step(path, "remove it: it differs from its receipts", lambda p=path: store.remove(p))  # type: ignore[misc]


def _mend(store: Store, task: ShardTask, record: ShardRecord, num_classes: int) -> Iterator[Step]:
    with store.fetch(record.path) as tar:
        if tar is None:
            yield _forget(store, task, record, "it is missing")
            return
        if digest_of_file(tar) != record.sha256:
            yield _forget(store, task, record, "its bytes are not those of its receipt")
            return
        rows = read_contents(tar, task, num_classes).rows
    if not sidecar_is_good(store, task, rows):
        path = sidecar_path(task)
        data = encode_sidecar(rows)
        yield Step(path, "rebuild it from its tar", lambda: store.replace(path, data))


def _forget(store: Store, task: ShardTask, record: ShardRecord, why: str) -> Step:
    """Take a shard out of the dataset, receipt first, so that the next run makes it again."""

    def forget() -> None:
        store.remove(snapshot_path(task.shard_index // BLOCK))
        store.remove(receipt_path(task.round_index, task.shard_index))
        store.remove(record.path)

    return Step(record.path, f"remove its receipt and itself: {why}; then run the job again", forget)


def _settle_orphan(store: Store, task: ShardTask, num_classes: int) -> Step:
    path = tar_path(task)
    with store.fetch(path) as tar:
        problems = ["gone"] if tar is None else read_orphan(tar, task, num_classes)[1].problems
    if not problems:
        run_id = new_run_id()
        return Step(
            path,
            "write its receipt: it is whole",
            lambda: _ignore(adopt_shard(store, task, num_classes, run_id)),
        )

    def remove() -> None:
        if find_record(store, task) is None:
            store.remove(path)

    return Step(path, f"remove it: no receipt, and damaged ({problems[0]})", remove)


def plan_clearing(store: Store, older_than_s: float) -> list[Step]:
    """What can go: unfinished files, tars and tables without a receipt, attempts that succeeded.

    Nothing that was written within the last `older_than_s` seconds is touched: a run may need it.

    Raises:
        StoreError: If there is no dataset.
    """
    plan = find_plan(store)
    done = find_done(store, plan).indices
    limit = time.time() - older_than_s

    def is_old(file: StoredFile) -> bool:
        return file.changed_at < limit

    steps = []
    for file in filter(is_old, store.leftovers()):
        action = "abort the upload" if file.upload_id else "remove it: unfinished"
        steps.append(Step(file.path, action, lambda f=file: store.discard(f)))  # type: ignore[misc]
    wanted = _files_of(plan, done)
    for folder in ("data", "meta"):
        for file in filter(is_old, store.files(folder)):
            if file.path not in wanted:
                steps.append(_removal(store, plan, file))
    for folder in (ATTEMPTS, QUARANTINE):
        for file in filter(is_old, store.files(folder)):
            if _is_of(file.path, done):
                why = "remove it: its shard was made after all"
                steps.append(Step(file.path, why, lambda f=file: store.remove(f.path)))  # type: ignore[misc]
    return steps


def _files_of(plan: Plan, done: set[int]) -> set[str]:
    tasks = [task for task in plan.tasks() if task.shard_index in done]
    return {path(task) for task in tasks for path in (tar_path, sidecar_path)}


def _removal(store: Store, plan: Plan, file: StoredFile) -> Step:
    """Remove a file of a shard that has no receipt, unless it gets one until then."""
    owner = next((t for t in plan.tasks() if file.path in (tar_path(t), sidecar_path(t))), None)

    def remove() -> None:
        if owner is None or find_record(store, owner) is None:
            store.remove(file.path)

    return Step(file.path, "remove it: no receipt names it", remove)


def _is_of(path: str, done: set[int]) -> bool:
    digits = path.rsplit("/", 1)[-1][:6]
    return digits.isdigit() and int(digits) in done


def _ignore(_: object) -> None:
    """A step returns nothing."""
