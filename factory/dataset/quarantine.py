"""Failed attempts and quarantine: failures are recorded in the store, and too many end a shard.

The count persists over runs, so that a shard which kills its workers does not do so in every run. A
quarantined shard is skipped until `factory quarantine retry` releases it.
"""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from factory.data import ShardTask
from factory.errors import DamageError, count_problems
from factory.manifest.labels import Facts
from factory.manifest.paths import (
    ATTEMPTS,
    QUARANTINE,
    attempt_path,
    quarantine_path,
    shard_index_of,
)
from factory.manifest.versions import read_file_of
from factory.redact import without_folders
from factory.store import Store

MOST_ATTEMPTS = 3
"""Attempts of a shard that may fail with an error."""
MOST_DEATHS = 5
"""Deaths of its worker; more than `MOST_ATTEMPTS`, because the cause may lie outside the shard."""


class ShardFailure(Facts):
    """One failed attempt (`attempts/`), or the last one (`quarantine/`)."""

    schema_version: int = 1
    """Version of this layout."""
    dataset_id: str
    """The dataset the shard belongs to."""
    name: str
    """The shard's name."""
    round_index: int
    """The round of the plan that it belongs to."""
    shard_index: int
    """Its position in the dataset."""
    attempt: int
    """Number of the attempt, from 1, over all runs."""
    reason: str
    """The error, in one line."""
    run_id: str
    """The run in which it happened."""
    failed_at: str
    """UTC time, ISO 8601."""


class Attempts:
    """Counts the failed attempts of shards, over all runs."""

    def __init__(self, store: Store, run_id: str) -> None:
        """Read the counts of earlier runs."""
        self._store = store
        self._run_id = run_id
        indices = (shard_index_of(path) for path in store.names(ATTEMPTS))
        self._failed = Counter(indices)

    def num_failed(self, task: ShardTask) -> int:
        """Number of failed attempts of a shard."""
        return self._failed[task.shard_index]

    def note(self, task: ShardTask, reason: str) -> int:
        """Record a failed attempt; returns how many there are now."""
        self._failed[task.shard_index] += 1
        failure = self._failure(task, reason)
        while not self._store.create(_path_of(failure), _encode(failure)):
            self._failed[task.shard_index] += 1  # another driver has recorded one meanwhile
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
            reason=without_folders(reason, self._store.uri, str(Path.cwd())),
            run_id=self._run_id,
            failed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def find_quarantined(store: Store, done: Collection[int] = ()) -> list[ShardFailure]:
    """Read the quarantined shards, in order, without those that were committed since (`done`).

    Raises:
        StoreError: If an entry cannot be read.
    """
    found = []
    for name in store.names(QUARANTINE):
        try:
            failure = read_file_of(
                ShardFailure, store.read(name) or b"", source=f"{store.uri}/{name}"
            )
        except ValidationError as error:
            raise DamageError(
                f"{store.uri}/{name}: not a quarantine entry ({count_problems(error.error_count())}); "
                "delete it and run the job again"
            ) from error
        if failure.shard_index not in done:
            found.append(failure)
    return sorted(found, key=lambda failure: failure.shard_index)


def quarantined_indices(store: Store) -> set[int]:
    """Indices of quarantined shards, from a listing alone; includes shards committed since."""
    return {shard_index_of(path) for path in store.names(QUARANTINE)} - {-1}


def release(store: Store, shards: Collection[int]) -> None:
    """Delete the failures of these shards, so that the next run retries them."""
    # The quarantine entry goes last: after a crash in between the shard is still listed, and
    # released by repeating the command.
    for folder in (ATTEMPTS, QUARANTINE):
        for path in store.names(folder):
            if shard_index_of(path) in shards:
                store.remove(path)


def _path_of(failure: ShardFailure) -> str:
    return attempt_path(failure.round_index, failure.shard_index, failure.attempt)


def _encode(failure: ShardFailure) -> bytes:
    return (failure.model_dump_json(indent=1) + "\n").encode()
