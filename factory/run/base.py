"""The promise of an executor, and the order that every worker gets.

An executor runs each task once to a record, tries again what may pass, and goes on with the rest
when one shard cannot be made. It never changes a byte of a shard.
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.manifest.records import ShardRecord
from factory.run import EXECUTORS
from factory.spec import DatasetSpec, RunSpec

MoreTasks = Callable[[], Sequence[ShardTask]]
"""Is asked when every task has its record: the tasks of the next round, none if there is none."""


def no_more() -> Sequence[ShardTask]:
    """The end of a job without coverage targets."""
    return ()


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """All a worker needs to build its shard maker, on any machine."""

    dataset: DatasetSpec
    run: RunSpec
    output_uri: str
    single_writer: bool
    """The output's store need not create exclusively."""
    weights_sha256: str
    segmenter_path: str
    """The fitted segmenter inside the output; empty if it needs none."""
    run_id: str
    import_paths: tuple[str, ...]
    """Folders in which `module:attribute` plugins are looked for."""


@runtime_checkable
class Observer(Protocol):
    """Is told what happens, from the driver's thread."""

    def started(self, num_samples: int, num_done: int) -> None:
        """The run begins: `num_samples` are planned, `num_done` of them exist."""

    def committed(self, record: ShardRecord) -> None:
        """A shard is in the store."""

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """An attempt failed; `again` says whether the shard will be tried once more."""


@dataclass(slots=True)
class Outcome:
    """What an executor leaves behind."""

    failures: dict[str, str] = field(default_factory=dict)
    """Shards that went into quarantine, by name, with the last reason."""


@runtime_checkable
class Executor(Protocol):
    """Runs tasks."""

    def __call__(
        self,
        tasks: Sequence[ShardTask],
        order: WorkOrder,
        observer: Observer,
        stop: threading.Event,
        attempts: Attempts,
        more: MoreTasks = no_more,
    ) -> Outcome:
        """Make every task's shard, and then those of `more()` until there are none.

        Failures are counted in `attempts`.

        Raises:
            Interrupted: If `stop` was set before all were made.
            FactoryError: If something is wrong that no other attempt can mend.
        """


def load_executor(name: str) -> Executor:
    """The executor called `name`, one of `EXECUTORS`; imported only now."""
    module, _, attribute = EXECUTORS[name].partition(":")
    found: Executor = getattr(importlib.import_module(module), attribute)
    return found
