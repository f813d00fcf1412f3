"""Shards that fail: every failed attempt is kept in the store, and one too many is the last.

The count outlives the run, so that a shard which kills its workers cannot kill those of every run.
A shard in quarantine is left out until `factory quarantine retry` releases it.
"""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime

from pydantic import ValidationError

from factory.data import ShardTask
from factory.errors import StoreError
from factory.manifest.labels import Facts
from factory.manifest.paths import (
    ATTEMPTS,
    QUARANTINE,
    attempt_path,
    quarantine_path,
    shard_index_of,
)
from factory.store import Store

MOST_ATTEMPTS = 3
"""Times a shard may fail by an error of its own."""
MOST_DEATHS = 5
"""Times its worker may die; more than `MOST_ATTEMPTS`, because somebody else may have killed it."""


class ShardFailure(Facts):
    """One failed attempt (`attempts/`), or the last one (`quarantine/`)."""

    schema_version: int = 1
    """Version of this layout."""
    dataset_id: str
    """The dataset the shard belongs to."""
    name: str
    """The shard's name."""
    round_index: int
    """The plan round that asked for it."""
    shard_index: int
    """Its position in the dataset."""
    attempt: int
    """Number of the attempt, from 1, over all runs."""
    reason: str
    """What happened, in one line."""
    run_id: str
    """The run in which it happened."""
    failed_at: str
    """UTC time, ISO 8601."""


class Attempts:
    """Counts the failures of shards, in this run and before."""

    def __init__(self, store: Store, run_id: str) -> None:
        """Read the count that earlier runs left."""
        self._store = store
        self._run_id = run_id
        indices = (shard_index_of(path) for path in store.names(ATTEMPTS))
        self._failed = Counter(indices)

    def num_failed(self, task: ShardTask) -> int:
        """Times the shard has failed."""
        return self._failed[task.shard_index]

    def note(self, task: ShardTask, reason: str) -> int:
        """Keep a failure, and return how many there are now."""
        self._failed[task.shard_index] += 1
        failure = self._failure(task, reason)
        while not self._store.create(_path_of(failure), _encode(failure)):
            self._failed[task.shard_index] += 1  # another driver noted one of its own
            failure = self._failure(task, reason)
        return failure.attempt

    def give_up(self, task: ShardTask, reason: str) -> None:
        """Put the shard into quarantine."""
        failure = self._failure(task, reason)
        self._store.create(quarantine_path(task.round_index, task.shard_index), _encode(failure))

    def _failure(self, task: ShardTask, reason: str) -> ShardFailure:
        return ShardFailure(
            dataset_id=task.dataset_id,
            name=task.name,
            round_index=task.round_index,
            shard_index=task.shard_index,
            attempt=self._failed[task.shard_index],
            reason=reason,
            run_id=self._run_id,
            failed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def find_quarantined(store: Store, done: Collection[int] = ()) -> list[ShardFailure]:
    """The shards in quarantine, in order; without those that were made after all (`done`).

    Raises:
        StoreError: If an entry cannot be read.
    """
    found = []
    for name in store.names(QUARANTINE):
        try:
            failure = ShardFailure.model_validate_json(store.read(name) or b"")
        except ValidationError as error:
            raise StoreError(
                f"{store.uri}/{name}: not a quarantine entry ({error.error_count()} problems); "
                "delete it and run the job again"
            ) from error
        if failure.shard_index not in done:
            found.append(failure)
    return sorted(found, key=lambda failure: failure.shard_index)


def quarantined_indices(store: Store) -> set[int]:
    """The shards with an entry in quarantine, from a listing alone; those made since included."""
    return {shard_index_of(path) for path in store.names(QUARANTINE)} - {-1}


def release(store: Store, shards: Collection[int]) -> None:
    """Forget the failures of these shards, so that the next run tries them again."""
    for folder in (ATTEMPTS, QUARANTINE):  # the entry last: a crash between leaves it listed
        for path in store.names(folder):
            if shard_index_of(path) in shards:
                store.remove(path)


def _path_of(failure: ShardFailure) -> str:
    return attempt_path(failure.round_index, failure.shard_index, failure.attempt)


def _encode(failure: ShardFailure) -> bytes:
    return (failure.model_dump_json(indent=1) + "\n").encode()
