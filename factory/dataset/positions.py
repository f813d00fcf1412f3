"""Find samples by their position in a dataset: rejected samples leave gaps in a shard's indices."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate

from factory.dataset.facts_table import read_facts_tables
from factory.dataset.near_train import NOTHING, LeftOut
from factory.errors import JobError
from factory.manifest.records import ShardRecord
from factory.store import Store

_MOST_TABLES = 64


class Positions:
    """The positions of all samples of some shards, from 0."""

    def __init__(self, records: Sequence[ShardRecord], left_out: LeftOut = NOTHING) -> None:
        """Count the samples of `records`, in their order, without those `left_out`."""
        self._records, self._left_out = records, left_out
        self._ends = list(accumulate(map(left_out.num_left, records)))
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
        without = self._left_out.of(record)
        whole = range(record.first_index, record.first_index + record.num_indices)
        if record.num_samples == record.num_indices and not without:
            return whole
        known = self._indices.get(record.path)
        if known is None:
            indices: Sequence[int] = whole
            if record.num_samples != record.num_indices:
                table = read_facts_tables(store, [record], ["index"], None)
                indices = table["index"].to_pylist()
            known = self._indices[record.path] = [i for i in indices if i not in without]
            while len(self._indices) > _MOST_TABLES:
                self._indices.popitem(last=False)
        return known
