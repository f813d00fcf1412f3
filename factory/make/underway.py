"""Count the samples of shards that are being made: progress between two commits."""

from collections.abc import Iterator
from contextlib import contextmanager

from factory.data import ShardTask


class SamplesUnderway:
    """Samples that are made, of shards that are not committed yet. Thread-safe."""

    def __init__(self) -> None:
        """Nothing is being made."""
        self._counts: dict[int, int] = {}

    @property
    def total(self) -> int:
        """Of all shards together."""
        return sum(list(self._counts.values()))

    def update(self, task: ShardTask, num_samples: int) -> None:
        """The shard of `task` has `num_samples` now."""
        self._counts[task.shard_index] = num_samples

    @contextmanager
    def until_committed(self, task: ShardTask) -> Iterator[None]:
        """Context manager that forgets the shard at its end: it is committed then, or has failed."""
        try:
            yield
        finally:
            self._counts.pop(task.shard_index, None)
