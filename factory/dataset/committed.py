"""Find the committed shards of a dataset without holding their receipts, and keep its snapshots.

Shards are looked at in blocks of `receipts.BLOCK`. Of a block with a snapshot only a few small columns
are read; of the others the receipts themselves, and a run that finds all of a block writes its
snapshot. So it takes memory for two blocks of receipts, and for a number for each shard.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa

from factory.dataset import receipts
from factory.dataset.listing import check_listing
from factory.dataset.receipts import list_receipts, path_of_block, read_receipts
from factory.manifest.makers import Maker, count_in_table, count_makers, join_makers
from factory.manifest.parquet import read_columns
from factory.manifest.paths import SNAPSHOTS, receipt_path, shard_index_of
from factory.manifest.records import ShardRecord
from factory.manifest.table import RECORD_SCHEMA, encode_snapshot
from factory.plan.rounds import Plan
from factory.store import Store
from factory.store.base import StoredFile

_THREADS = 16
_COUNTED = pa.schema(
    [RECORD_SCHEMA.field(n) for n in ("dataset_id", "round_index", "shard_index", "num_samples")]
)
_SMALL = [*_COUNTED.names, "device", "versions"]
_BLOCKS_HELD = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run needs of a snapshot, which has the receipts of all shards of its block."""

    num_samples: int
    """Samples in these shards."""
    makers: Counter[Maker]
    """Numbers of shards by what decided their bytes."""
    size_bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True)
class CommittedShards:
    """The committed shards, as far as a run needs them to resume."""

    indices: set[int]
    """Shards that have a receipt."""
    num_samples: int
    """Total number of their samples."""
    loose: tuple[ShardRecord, ...]
    """Receipts that are in no snapshot: those of two blocks at most."""
    stale: tuple[str, ...] = ()
    """Invalid snapshots: they contain receipts that no longer exist, or cannot be read."""
    makers: Counter[Maker] = field(default_factory=Counter)
    """Numbers of shards by what decided their bytes."""
    snapshots: Mapping[int, Snapshot] = field(default_factory=dict)
    """The valid snapshots, by number of their block."""


NONE_COMMITTED = CommittedShards(set(), 0, ())
"""Of a dataset without shards."""


def find_committed(
    store: Store, plan: Plan, known: CommittedShards = NONE_COMMITTED, *, mend: bool = False
) -> CommittedShards:
    """Find the committed shards without reading every receipt.

    Args:
        store: The dataset's store.
        plan: Its plan.
        known: What was found before: its snapshots and receipts are not read again if they still exist.
        mend: Whether to remove invalid snapshots, and to write those of blocks that are complete.

    Raises:
        StoreError: If a receipt belongs to another dataset or has another shard's name, or receipts
            of a snapshot are there and are not listed.
    """
    names = set(list_receipts(store, plan))
    snapshots: dict[int, Snapshot] = {}
    stale = []
    for path, block, snapshot in _read_snapshots(store, plan, known):
        covered = names_in_block(plan, block)
        unlisted = set(covered) - names if snapshot else set()
        if snapshot is None or unlisted:
            check_listing(store, unlisted, partial(list_receipts, store, plan))
            stale.append(path)
            if mend:
                store.remove(path)
            continue
        snapshots[block] = snapshot
        names.difference_update(covered)
    keeper = SnapshotKeeper(store, CommittedShards(set(), 0, (), snapshots=snapshots), mend=mend)
    num_samples, makers = 0, Counter[Maker]()
    for records in _read_loose(store, plan, names, known.loose):
        num_samples += sum(record.num_samples for record in records)
        makers += count_makers(records)
        for record in records:
            keeper.add(record)
    for snapshot in snapshots.values():
        num_samples += snapshot.num_samples
        makers += snapshot.makers
    return CommittedShards(
        keeper.indices,
        num_samples,
        keeper.loose(),
        tuple(stale),
        join_makers(makers),
        keeper.known().snapshots,
    )


class SnapshotKeeper:
    """Writes the snapshot of a block as soon as all its receipts are known."""

    def __init__(self, store: Store, done: CommittedShards, *, mend: bool = True) -> None:
        """Start with the committed shards. Without `mend` nothing is written."""
        self._store = store
        self._mend = mend
        self.indices = set(done.indices)
        """Shards that were found or added."""
        self._snapshots = dict(done.snapshots)
        for block in self._snapshots:
            self.indices.update(range(block * receipts.BLOCK, (block + 1) * receipts.BLOCK))
        self._blocks: dict[int, dict[int, ShardRecord]] = defaultdict(dict)
        self._num_held = 0
        for record in done.loose:
            self.add(record)

    def loose(self) -> tuple[ShardRecord, ...]:
        """The known receipts that are in no snapshot, those of two blocks at most."""
        return tuple(record for block in self._blocks.values() for record in block.values())

    def known(self) -> CommittedShards:
        """What `find_committed` need not read again."""
        return CommittedShards(self.indices, 0, self.loose(), snapshots=dict(self._snapshots))

    def add(self, record: ShardRecord) -> None:
        """Add a committed shard."""
        self.indices.add(record.shard_index)
        number = record.shard_index // receipts.BLOCK
        if number in self._snapshots:
            return
        block = self._blocks[number]
        self._num_held += record.shard_index not in block
        block[record.shard_index] = record
        if self._mend and len(block) == receipts.BLOCK:
            data = encode_snapshot(list(block.values()))
            self._store.create(path_of_block(number), data)
            self._snapshots[number] = Snapshot(
                sum(one.num_samples for one in block.values()),
                count_makers(block.values()),
                len(data),
            )
            self._forget(number)
        elif self._num_held > _BLOCKS_HELD * receipts.BLOCK:
            # A shard in quarantine keeps its block incomplete for good; whoever needs the receipts of
            # such a block reads them again.
            self._forget(min(self._blocks))

    def _forget(self, number: int) -> None:
        self._num_held -= len(self._blocks.pop(number))


def names_in_block(plan: Plan, block: int) -> list[str]:
    """Names of the receipts of all planned shards of a block, in order."""
    return [
        receipt_path(number, shard)
        for number, shards in _parts_of_block(plan, block)
        for shard in shards
    ]


def _parts_of_block(plan: Plan, block: int) -> list[tuple[int, range]]:
    """The planned shards of a block by round: its number, and which."""
    first, last = block * receipts.BLOCK, (block + 1) * receipts.BLOCK
    parts = (
        (
            round_.round_index,
            range(
                max(first, round_.first_shard), min(last, round_.first_shard + round_.num_shards)
            ),
        )
        for round_ in plan.rounds
    )
    return [(number, shards) for number, shards in parts if shards]


def _read_snapshots(
    store: Store, plan: Plan, known: CommittedShards
) -> Iterator[tuple[str, int, Snapshot | None]]:
    """The path, the block and the facts of each snapshot; no facts of one that cannot be used."""

    def read(file: StoredFile) -> tuple[str, int, Snapshot | None]:
        block = shard_index_of(file.path) // receipts.BLOCK
        if block < 0 or file.path != path_of_block(block):
            return file.path, block, None
        return (
            file.path,
            block,
            known.snapshots.get(block) or _read_snapshot(store, file, plan, block),
        )

    with ThreadPoolExecutor(_THREADS) as threads:
        yield from threads.map(read, store.files(SNAPSHOTS))


def _read_snapshot(store: Store, file: StoredFile, plan: Plan, block: int) -> Snapshot | None:
    """The facts of a snapshot, of which a hundredth is read; None if it cannot be used."""
    try:
        table = read_columns_of(store, file.path, file.size_bytes, _SMALL)
        makers = count_in_table(table)
        numbers = table.select(_COUNTED.names).cast(_COUNTED)  # whoever wrote it
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    parts = _parts_of_block(plan, block)
    if not parts:
        return None
    rounds = np.concatenate([np.full(len(shards), number) for number, shards in parts])
    shards = np.concatenate([np.array(shards) for _, shards in parts])
    is_ours = numbers["dataset_id"].unique().to_pylist() == [plan.dataset_id]
    is_whole = len(shards) == receipts.BLOCK and np.array_equal(numbers["shard_index"], shards)
    if not is_ours or not is_whole or not np.array_equal(numbers["round_index"], rounds):
        return None
    num_samples = numbers["num_samples"]
    # No receipt says none or less, and the sum would pass for a run's progress.
    if num_samples.null_count or num_samples.to_numpy().min() < 0:
        return None
    return Snapshot(int(num_samples.to_numpy().sum()), makers, file.size_bytes)


def read_columns_of(store: Store, path: str, size_bytes: int, columns: Sequence[str]) -> pa.Table:
    """Decode just these `columns` of a table in `store`, and read nothing else of it.

    Raises:
        As `read_columns`.
    """

    def read_part(offset: int, part_bytes: int) -> bytes:
        return store.read_part(path, offset, part_bytes) or b""

    return read_columns(read_part, size_bytes, columns)


def _read_loose(
    store: Store, plan: Plan, names: Iterable[str], known: Iterable[ShardRecord]
) -> Iterator[list[ShardRecord]]:
    """Read the receipts `names` block by block; those that are `known` are not read again."""
    held = {receipt_path(record.round_index, record.shard_index): record for record in known}

    def block_of(name: str) -> int:
        return shard_index_of(name) // receipts.BLOCK

    for _, group in groupby(sorted(names, key=block_of), key=block_of):
        block = list(group)
        there = [held[name] for name in block if name in held]
        unread = sorted(name for name in block if name not in held)
        yield [*there, *read_receipts(store, unread, plan)]
