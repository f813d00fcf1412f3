"""Read a dataset back and hold every byte against its receipts.

Plainly: every receipt is read, and every tar has the size and the SHA-256 that its receipt says.
Deeply: every sample is decoded too, and counted again, and held against its table.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from factory.data import ShardTask
from factory.dataset.holdings import find_expected, find_plan
from factory.dataset.receipts import check_snapshots, list_receipts, read_receipts
from factory.identity import digest_of_file
from factory.manifest.paths import SHARDS, sidecar_path
from factory.manifest.records import ShardRecord
from factory.pack.contents import Expected, read_contents
from factory.pack.facts import SampleFacts, read_sidecar
from factory.store import Store

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Findings:
    """What `verify` read, and what is wrong with it."""

    num_shards: int
    num_samples: int
    problems: tuple[str, ...]
    """One line each: shard, what was found, what was expected."""


def verify_dataset(store: Store, *, deep: bool = False) -> Findings:
    """Check every committed shard of the dataset in `store`; `deep` decodes every sample.

    Raises:
        StoreError: If there is no dataset, or a receipt belongs to another one.
    """
    plan = find_plan(store)
    records = read_receipts(store, list_receipts(store, plan), plan.dataset_id)
    promise = find_expected(store, plan) if records else Expected(0, [])
    tasks = {task.shard_index: task for task in plan.tasks()}

    def check(record: ShardRecord) -> list[str]:
        task = tasks.get(record.shard_index)
        if task is None:
            return [f"{record.path}: its receipt names a shard that no round plans"]
        found = _check(store, record, task, promise if deep else None)
        return [f"{record.path}: {problem}" for problem in found]

    with ThreadPoolExecutor(_THREADS) as pool:
        problems = [line for lines in pool.map(check, records) for line in lines]
    problems += _check_strangers(store, records)
    problems += check_snapshots(store, records)
    count = sum(record.num_samples for record in records)
    return Findings(len(records), count, tuple(problems))


def _check_strangers(store: Store, records: list[ShardRecord]) -> list[str]:
    """Tars without a receipt are not part of the dataset, but brace ranges would read them."""
    known = {record.path for record in records}
    return [
        f"{name}: no receipt names it; run the job again to commit it, or `factory gc` removes it"
        for name in store.names(SHARDS)
        if name not in known
    ]


def _check(
    store: Store, record: ShardRecord, task: ShardTask, promise: Expected | None
) -> Iterator[str]:
    with store.fetch(record.path) as path:
        if path is None:
            yield "missing"
            return
        size_bytes = path.stat().st_size
        if size_bytes != record.size_bytes:
            yield f"{size_bytes} bytes, its receipt says {record.size_bytes}"
            return
        if (digest := digest_of_file(path)) != record.sha256:
            yield f"sha256 {digest[:16]}, its receipt says {record.sha256[:16]}"
            return
        if promise is not None:
            yield from _check_inside(store, path, record, task, promise)


def _check_inside(
    store: Store, path: Path, record: ShardRecord, task: ShardTask, promise: Expected
) -> Iterator[str]:
    contents = read_contents(path, task, promise)
    found = list(contents.problems)
    if not found and contents.num_members != record.num_members:
        found.append(f"{contents.num_members} files inside, its receipt says {record.num_members}")
    if not found and len(contents.rows) != record.num_samples:
        found.append(f"{len(contents.rows)} samples inside, its receipt says {record.num_samples}")
    if not found and not sidecar_is_good(store, task, contents.rows):
        name = sidecar_path(task.name)
        found.append(f"{name} is not the table of its samples; `factory repair` rebuilds it")
    yield from found


def sidecar_is_good(store: Store, task: ShardTask, rows: list[SampleFacts]) -> bool:
    """Whether the table of a shard says what is in its tar."""
    try:
        table = read_sidecar(store.read(sidecar_path(task.name)) or b"")
        return [facts for facts, _ in table] == rows
    except ValueError:
        return False
