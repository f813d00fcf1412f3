"""The protocol of an executor, and the configuration that every worker gets.

An executor turns each task into one record, retries transient failures, and continues with the other
tasks when a shard cannot be made. It never changes a byte of a shard.
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.manifest.makers import Maker
from factory.manifest.records import ShardRecord
from factory.run import EXECUTORS
from factory.spec import DatasetSpec, RunSpec

MoreTasks = Callable[[], Sequence[ShardTask]]
"""Callback for the tasks of the next round, called when every task has its record; empty at the end."""


def no_more() -> Sequence[ShardTask]:
    """No further rounds: for jobs without coverage targets."""
    return ()


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Everything a worker needs to build its shard maker, on any machine."""

    dataset: DatasetSpec
    run: RunSpec
    output_uri: str
    single_writer: bool
    """The output has no concurrent writers, so that its store need not create exclusively."""
    weights_sha256: str
    segmenter_path: str
    """Path of the fitted segmenter in the output; empty if the method has none."""
    run_id: str
    import_paths: tuple[str, ...]
    """Folders to import `module:attribute` plugins from."""
    workers_per_machine: int = 1
    """The most workers that share a machine: each gets its part of the cores."""


@runtime_checkable
class Observer(Protocol):
    """Callbacks for the progress of a run, called on the driver's thread."""

    def started(self, num_samples: int, num_done: int) -> None:
        """The run starts: `num_samples` are planned, `num_done` of them exist already."""

    def committed(self, record: ShardRecord) -> None:
        """A shard was committed."""

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """An attempt failed; `again` = the shard will be retried."""


@runtime_checkable
class MakerObserver(Observer, Protocol):
    """An observer that is also told who is about to make shards."""

    def joined(self, maker: Maker) -> None:
        """A worker is ready, and names itself as its shards' receipts will."""


@runtime_checkable
class SampleObserver(Observer, Protocol):
    """An observer that is also told of samples in shards that are not committed yet."""

    def underway(self, num_samples: int) -> None:
        """So many samples are made of such shards; fewer than before if a worker has died."""


@dataclass(slots=True)
class Outcome:
    """The result of an executor."""

    failures: dict[str, str] = field(default_factory=dict)
    """Quarantined shards by name, with the last reason."""


@runtime_checkable
class Executor(Protocol):
    """Runs tasks."""

    def __call__(
        self,
        tasks: Sequence[ShardTask],
        config: WorkerConfig,
        observer: Observer,
        stop: threading.Event,
        attempts: Attempts,
        more: MoreTasks = no_more,
    ) -> Outcome:
        """Make the shards of all tasks, and then those of `more()` until there are none.

        Failures are recorded in `attempts`.

        Raises:
            Interrupted: If `stop` was set before all were made.
            FactoryError: If there is a permanent failure that is not limited to one shard.
        """


def load_executor(name: str) -> Executor:
    """The executor called `name`, one of `EXECUTORS`; imported only now."""
    module, _, attribute = EXECUTORS[name].partition(":")
    found: Executor = getattr(importlib.import_module(module), attribute)
    return found
