"""Read all receipts of a dataset quickly: a listing, snapshots of complete blocks, and the rest.

Receipts are authoritative, snapshots are a cache: a snapshot contains the receipts of a block of
shards once all of them exist, so that its bytes are a pure function of them. It is created
exclusively by the first writer and can be deleted at any time. The listing decides what exists;
snapshots only save reads.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from factory.data import ShardTask
from factory.errors import DamageError, Problem, StoreError
from factory.manifest.paths import RECEIPTS, SNAPSHOTS, receipt_path, snapshot_path, tar_path
from factory.manifest.records import ShardRecord, read_record
from factory.manifest.table import read_snapshot
from factory.plan.rounds import Plan
from factory.store import Store

BLOCK = 5000
"""Shards per snapshot: with more, too many receipts would have to be read one by one after a crash."""


# Receipts are tiny: reading them from S3 is limited by round trips, not by bandwidth.
_THREADS = 16


def path_of_block(block: int) -> str:
    """The path of a block's snapshot."""
    return snapshot_path(block * BLOCK, (block + 1) * BLOCK - 1)


def list_receipts(store: Store, plan: Plan) -> list[str]:
    """List the names of all receipts, sorted."""
    splits = [
        receipt_path(round_.round_index, first)
        for round_ in plan.rounds
        for first in range(round_.first_shard, round_.first_shard + round_.num_shards, BLOCK)
    ]
    return store.names(RECEIPTS, splits[1:])


def find_records(
    store: Store, plan: Plan, known: Iterable[ShardRecord] = ()
) -> tuple[ShardRecord, ...]:
    """Read every receipt of the dataset, in shard order; from snapshots where these are valid.

    Args:
        store: The dataset's store.
        plan: Its plan.
        known: Receipts that were read before. Those that still exist are not read again: receipts are
            immutable.

    Returns:
        The receipts.

    Raises:
        StoreError: If one of them belongs to another dataset or has another shard's name.
    """
    names = set(list_receipts(store, plan))
    records: list[ShardRecord] = []
    for found in _snapshots(store):
        covered = {receipt_path(record.round_index, record.shard_index) for record in found}
        # A snapshot that contains a receipt which is gone is ignored as a whole: the shard was
        # removed by `repair`, and must not come back through the cache.
        if found and names >= covered and all(is_planned(record, plan) for record in found):
            records += found
            names -= covered
    for record in known:
        name = receipt_path(record.round_index, record.shard_index)
        if name in names:
            records.append(record)
            names.remove(name)
    records += read_receipts(store, sorted(names), plan)
    return tuple(sorted(records, key=lambda record: record.shard_index))


def read_receipts(store: Store, names: Sequence[str], plan: Plan) -> list[ShardRecord]:
    """Read the receipts `names`, in this order.

    Raises:
        StoreError: If one of them belongs to another dataset or has another shard's name.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(lambda name: _read_receipt(store, name, plan), names))


def check_snapshots(store: Store, records: Iterable[ShardRecord]) -> dict[str, Problem]:
    """Compare snapshots with receipts; returns the problems by path."""
    by_block: dict[str, list[ShardRecord]] = defaultdict(list)
    for record in records:
        by_block[path_of_block(record.shard_index // BLOCK)].append(record)
    problems = {}
    for path in store.names(SNAPSHOTS):
        try:
            held = read_snapshot(store.read(path) or b"")
        except ValueError as error:
            found = str(error)
        else:
            if held == sorted(by_block[path], key=lambda record: record.shard_index):
                continue
            found = "differs from its receipts"
        problems[path] = Problem(path, "snapshot", found, "delete it: it is made again")
    return problems


def _snapshots(store: Store) -> Iterator[list[ShardRecord]]:
    """Read the receipts of each snapshot; none for one that cannot be read."""

    def read(path: str) -> list[ShardRecord]:
        try:
            return read_snapshot(store.read(path) or b"")
        except ValueError:
            return []

    with ThreadPoolExecutor(_THREADS) as threads:
        yield from threads.map(read, store.names(SNAPSHOTS))


def examine_receipts(store: Store, plan: Plan) -> tuple[list[ShardRecord], list[Problem]]:
    """Read every receipt one by one; returns those that are valid, and a problem for each other one.

    Raises:
        StoreError: If one of them belongs to another dataset.
    """

    def read(name: str) -> ShardRecord | Problem:
        try:
            return _read_receipt(store, name, plan)
        except DamageError as error:
            remedy = "`factory repair` removes it, and the next run writes it anew"
            return Problem(name, "receipt", error.found, remedy)

    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(read, list_receipts(store, plan)))
    records = [entry for entry in found if isinstance(entry, ShardRecord)]
    return records, [entry for entry in found if isinstance(entry, Problem)]


def is_planned(record: ShardRecord, plan: Plan) -> bool:
    """Whether a receipt agrees with the plan about its shard: index range, path, number of samples.

    A dataset of unknown origin could name any file as a shard; a path that differs from the plan's is
    never opened.
    """
    task = plan.task(record.round_index, record.shard_index)
    if task is None or record.dataset_id != plan.dataset_id:
        return False
    found = (record.path, record.first_index, record.num_indices)
    return (
        found == (tar_path(task.name, task.split), task.first_index, task.num_indices)
        and 0 < record.num_samples <= task.num_samples
    )


def _read_receipt(store: Store, name: str, plan: Plan) -> ShardRecord:
    record = read_record(store.read(name) or b"", source=f"{store.uri}/{name}")
    if record.dataset_id != plan.dataset_id:
        raise StoreError(
            f"{store.uri}/{name}: belongs to dataset {record.dataset_id}, this is {plan.dataset_id}; "
            "two datasets were mixed in one folder: move that receipt and its shard away"
        )
    found = ""
    if name != receipt_path(record.round_index, record.shard_index):
        found = f"the receipt of shard {record.shard_index}, filed under another name"
    elif not is_planned(record, plan):
        found = "names another tar, range or number of samples than the plan"
    if found:
        raise DamageError(
            where=f"{store.uri}/{name}",
            found=found,
            remedy=f"`factory repair {store.uri}` removes it, then run the job again",
        )
    return record


def find_record(store: Store, task: ShardTask) -> ShardRecord | None:
    """Read the receipt of a shard; None if it is not committed.

    Raises:
        StoreError: If it cannot be read.
    """
    name = receipt_path(task.round_index, task.shard_index)
    data = store.read(name)
    return read_record(data, source=f"{store.uri}/{name}") if data is not None else None
