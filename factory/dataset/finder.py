"""Random access to samples: only the bytes of a sample are read, not its whole shard."""

import os
from functools import partial

from factory.dataset.walk import (
    StoredSample,
    check_name,
    damage,
    explain_damage,
    find_change_of_size,
)
from factory.identity import sample_key
from factory.manifest.records import ShardRecord
from factory.pack.tar_search import TarSearch
from factory.store import Store


class SampleFinder:
    """Reads single samples from anywhere in a dataset. Thread-safe.

    Of a shard only the size is compared with its receipt, which finds truncation; its SHA-256 would
    need all its bytes. Damage inside a sample is found by the checksums of its own files.
    """

    def __init__(self, store: Store) -> None:
        """Prepare to read from `store`; nothing is read yet."""
        self._store = store
        self._right_size: set[str] = set()

    def find(self, record: ShardRecord, index: int) -> StoredSample | None:
        """Read the sample with an index; None if its shard does not contain it.

        Raises:
            DamageError: If the shard is missing, truncated, or damaged where it was read.
            StoreError: If it cannot be read.
        """
        found = self.find_next(record, index)
        return found if found is not None and found.key == sample_key(index) else None

    def find_next(self, record: ShardRecord, index: int) -> StoredSample | None:
        """Read the first sample of a shard whose index is not below `index`; None if there is none.

        Raises:
            DamageError: If the shard is missing, truncated, or damaged where it was read.
            StoreError: If it cannot be read.
        """
        self._check_size(record)
        search = TarSearch(
            partial(self._read_part, record),
            record.size_bytes,
            first_index=record.first_index,
            num_indices=record.num_indices,
            num_samples=record.num_samples,
        )
        with explain_damage(self._store, record):
            files = [(*check_name(name, record), data) for name, data in search.find(index)]
        return StoredSample(files[0][0], {e: data for _, e, data in files}) if files else None

    def _check_size(self, record: ShardRecord) -> None:
        if record.path in self._right_size:
            return
        problem = find_change_of_size(record, self._store.size_of(record.path))
        if problem is not None:
            raise damage(self._store, problem)
        self._right_size.add(record.path)

    def _read_part(self, record: ShardRecord, offset: int, size_bytes: int) -> bytes:
        return self._store.read_part(record.path, offset, size_bytes) or b""


class Connection:
    """A store and the finder of its samples, in one process."""

    def __init__(self, store: Store) -> None:
        """Remember the process: its children need connections of their own."""
        self.process = os.getpid()
        self.store = store
        self.finder = SampleFinder(store)
