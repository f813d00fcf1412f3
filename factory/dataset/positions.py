"""Find samples by their position in a dataset: rejected samples leave gaps in a shard's indices."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate

from factory.dataset.facts_table import read_facts_tables
from factory.errors import JobError
from factory.manifest.records import ShardRecord
from factory.store import Store

_MOST_TABLES = 64


class Positions:
    """The positions of all samples of some shards, from 0."""

    def __init__(self, records: Sequence[ShardRecord]) -> None:
        """Count the samples of `records`, in their order."""
        self._records = records
        self._ends = list(accumulate(record.num_samples for record in records))
        self._indices: OrderedDict[str, Sequence[int]] = OrderedDict()

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1] if self._ends else 0

    def find(self, position: int, store: Store) -> tuple[ShardRecord, int]:
        """The shard with the sample at `position` (below `len`), and the sample's index.

        Raises:
            DamageError: If the table of a shard with rejected samples is missing or damaged.
        """
        place = bisect_right(self._ends, position)
        record = self._records[place]
        return record, self._indices_of(record, store)[position - self._ends[place]]

    def chosen_by(self, which: slice) -> range:
        """The positions that a slice chooses.

        Raises:
            JobError: If its borders are no integers, or its step is 0.
        """
        try:
            return range(*which.indices(len(self)))
        except (TypeError, ValueError) as error:
            raise JobError(
                where="position",
                found=f"found {which!r}",
                allowed="borders of a slice are whole numbers, and its step is not 0",
            ) from error

    def _indices_of(self, record: ShardRecord, store: Store) -> Sequence[int]:
        """The sample indices of a shard, by position."""
        # Without rejections a range has no gaps; else the sidecar table is smaller than tar headers.
        if record.num_samples == record.num_indices:
            return range(record.first_index, record.first_index + record.num_indices)
        known = self._indices.get(record.path)
        if known is None:
            table = read_facts_tables(store, [record], ["index"], None)
            known = self._indices[record.path] = table["index"].to_pylist()
            while len(self._indices) > _MOST_TABLES:
                self._indices.popitem(last=False)
        return known
