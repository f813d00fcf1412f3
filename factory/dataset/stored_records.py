"""The receipts of a large dataset in shard order, read block by block as they are asked for."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import overload

import pyarrow as pa

from factory.dataset import receipts
from factory.dataset.committed import (
    CommittedShards,
    find_committed,
    names_in_block,
    read_columns_of,
)
from factory.dataset.receipts import path_of_block, read_receipts
from factory.dataset.state import DatasetState, find_plan
from factory.manifest.columns import facts_of
from factory.manifest.parquet import read_table
from factory.manifest.paths import shard_index_of
from factory.manifest.records import RecordSequence, ShardRecord
from factory.manifest.table import RECORD_SCHEMA, records_of, table_of
from factory.manifest.totals import Totals, agreements_in
from factory.plan.rounds import Plan
from factory.store import Store


class StoredRecords(RecordSequence):
    """The receipts that were committed when it was made; one block of them is in memory at a time.

    A block is read from its snapshot, or receipt by receipt if it has none that can be used.
    """

    def __init__(self, store: Store, plan: Plan, done: CommittedShards) -> None:
        """Read the receipts of `done`, which follow `plan`, from `store`."""
        self._store = store
        self._plan = plan
        self.committed = done
        """What was found."""
        self._totals: Totals | None = None
        self._checked: set[int] = set()
        self._latest = -1, RECORD_SCHEMA.empty_table()
        self._loose: dict[int, list[ShardRecord]] = {}
        for record in done.loose:
            self._loose.setdefault(record.shard_index // receipts.BLOCK, []).append(record)
        counts: dict[int, int] = {}
        for index in done.indices:
            counts[index // receipts.BLOCK] = counts.get(index // receipts.BLOCK, 0) + 1
        self._counts = dict(sorted(counts.items()))

    @property
    def indices(self) -> set[int]:
        """Their shard indices."""
        return self.committed.indices

    @property
    def num_samples(self) -> int:
        """Number of samples in their shards."""
        return self.committed.num_samples

    @property
    def totals(self) -> Totals:
        """Sums over them; read if `tables` was not read to its end before."""
        if self._totals is None:
            for _ in self.tables():
                pass
        assert self._totals is not None  # the last table sets it
        return self._totals

    def tables(self) -> Iterator[pa.Table]:
        """The receipts of one block after the other, as rows of a manifest.

        Raises:
            StoreError: If one was removed meanwhile.
        """
        totals = Totals()
        for block in self._counts:
            table = self._table(block)
            totals.add_table(table)
            yield table
        self._totals = totals

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of `tables`; of a snapshot that was checked before, nothing else is read.

        Raises:
            StoreError: If a receipt was removed meanwhile.
        """
        for block in self._counts:
            yield self._columns_of(block, names)

    def _columns_of(self, block: int, names: Sequence[str]) -> pa.Table:
        if block in self._checked:
            size_bytes = self.committed.snapshots[block].size_bytes
            with suppress(pa.ArrowException, OSError, KeyError, ValueError):
                return read_columns_of(self._store, path_of_block(block), size_bytes, names)
        return self._table(block).select(names)

    def __len__(self) -> int:
        """Number of receipts."""
        return len(self.indices)

    def __iter__(self) -> Iterator[ShardRecord]:
        """All receipts, in order."""
        for table in self.tables():
            yield from records_of(table)

    @overload
    def __getitem__(self, position: int) -> ShardRecord: ...
    @overload
    def __getitem__(self, position: slice) -> list[ShardRecord]: ...
    def __getitem__(self, position: int | slice) -> ShardRecord | list[ShardRecord]:
        """The receipt at a position, or those of a slice: each reads its block."""
        if isinstance(position, slice):
            return [self[place] for place in range(*position.indices(len(self)))]
        place = range(len(self))[position]
        for block, count in self._counts.items():
            if place < count:
                if block != self._latest[0]:
                    self._latest = block, self._table(block)
                return records_of(self._latest[1].slice(place, 1))[0]
            place -= count
        raise IndexError(position)

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same receipts."""
        if not isinstance(other, Sequence) or len(other) != len(self):
            return NotImplemented
        return all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _table(self, block: int) -> pa.Table:
        if block in self.committed.snapshots:
            is_new = block not in self._checked
            table = _read_block(self._store, self._plan, block, is_new=is_new)
            if table is not None:
                self._checked.add(block)
                return table
        loose = self._loose.get(block, [])
        if len(loose) == self._counts[block]:
            return table_of(loose)
        names = names_in_block(self._plan, block)
        there = [name for name in names if shard_index_of(name) in self.indices]
        return table_of(read_receipts(self._store, there, self._plan))


def stored_state(store: Store, plan: Plan, done: CommittedShards) -> DatasetState:
    """The state of a dataset of which `done` was found: with a tuple if all receipts are held anyway."""
    if len(done.loose) < len(done.indices):
        return DatasetState(plan, StoredRecords(store, plan, done))
    return DatasetState(plan, tuple(sorted(done.loose, key=lambda record: record.shard_index)))


def find_stored_state(store: Store, known: DatasetState | None = None) -> DatasetState:
    """Read the state of the dataset in `store` without holding it; what is `known` is not read again.

    Raises:
        StoreError: If there is none, or a receipt belongs to another dataset.
    """
    plan = find_plan(store, known.plan.rounds if known else ())
    records = known.records if known else ()
    done = (
        records.committed
        if isinstance(records, StoredRecords)
        else CommittedShards(set(), 0, tuple(records))
    )
    return stored_state(store, plan, find_committed(store, plan, done))


def sizes_of(records: Sequence[ShardRecord]) -> Iterator[tuple[str, int]]:
    """The path of each shard, and the size that its receipt tells."""
    if not isinstance(records, StoredRecords):
        yield from ((record.path, record.size_bytes) for record in records)
        return
    for table in records.columns(["path", "size_bytes"]):
        yield from zip(table["path"].to_pylist(), table["size_bytes"].to_pylist(), strict=True)


def tables_of(records: Sequence[ShardRecord]) -> Iterator[pa.Table]:
    """Receipts in shard order as rows of a manifest, a table for each block."""
    if isinstance(records, StoredRecords):
        yield from records.tables()
        return
    blocks: dict[int, list[ShardRecord]] = {}
    for record in records:
        blocks.setdefault(record.shard_index // receipts.BLOCK, []).append(record)
    for block in sorted(blocks):
        yield table_of(blocks[block])


def _read_block(store: Store, plan: Plan, block: int, *, is_new: bool) -> pa.Table | None:
    """The rows of a snapshot, checked against the plan; None if they cannot be used as they are."""
    try:
        table = read_table(store.read(path_of_block(block)) or b"")
        if not table.schema.equals(RECORD_SCHEMA):  # an older version wrote it
            table = table_of(records_of(table))
        if is_new:
            _check_rows(table, plan)
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    return table


def _check_rows(table: pa.Table, plan: Plan) -> None:
    """Require that the rows are receipts of planned shards, in order.

    Coverages are not decoded: that would take ten times as long as all the rest.

    Raises:
        ValueError: If they are not.
    """
    agreements_in(table)
    rows = table.drop_columns("coverage").to_pylist()
    for row in rows:
        record = ShardRecord.model_validate(facts_of(row, ShardRecord))
        if not receipts.is_planned(record, plan):
            raise ValueError(f"shard {record.shard_index} is not as planned")
    if [row["shard_index"] for row in rows] != sorted({row["shard_index"] for row in rows}):
        raise ValueError("rows out of order")
