"""A fleet of workers that come and go: who gets the next shard, who is replaced, who is given up on.

It knows no Ray: a `Cluster` starts and kills workers and tells what happened to them, so the rules
here are tested with clusters that exist only in memory.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.errors import FactoryError, PluginError, PreemptedError, RetryableError
from factory.log import log_event
from factory.manifest.records import ShardRecord
from factory.run.drive import Waiting
from factory.spec import RunSpec

WINDOW = 2
"""Calls in flight for each worker: one computes while the other still packs and commits."""

_MAX_LOSSES_IN_A_ROW = 5
_LOOK_S = 2.0
_START_LIMIT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded everything."""

    worker: int
    node: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A call has ended."""

    worker: int
    shard_index: int
    result: ShardRecord | BaseException


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, with whatever it was doing."""

    worker: int
    reason: str
    is_innocent: bool
    """Its node went away: nothing it was doing can be the cause."""


Event = Ready | Completed | Lost


@runtime_checkable
class Cluster(Protocol):
    """Where workers live."""

    def room(self) -> int:
        """Workers the cluster can hold now, those that run included."""

    def start(self) -> int:
        """Begin a worker; `Ready` or `Lost` follows."""

    def assign(self, worker: int, task: ShardTask) -> None:
        """Give a worker a shard to make; `Completed` or `Lost` follows."""

    def kill(self, worker: int) -> None:
        """End a worker at once; nothing follows."""

    def leaving(self) -> Mapping[str, float]:
        """Nodes that were told to go, with the seconds each has left."""

    def events(self, timeout_s: float) -> Iterable[Event]:
        """What happened, waiting for it at most `timeout_s`.

        Raises:
            FactoryError: If a worker could not be built: wrong for one, wrong for all.
        """


@dataclass(slots=True)
class _Worker:
    node: str = ""
    is_ready: bool = False
    is_retiring: bool = False
    is_suspect: bool = False
    """It makes a shard that has failed before, and nothing else meanwhile."""
    num_done: int = 0
    quiet_since: float = 0.0
    flying: dict[int, ShardTask] = field(default_factory=dict)

    @property
    def is_free(self) -> bool:
        """Whether it may get another shard."""
        busy = self.is_retiring or self.is_suspect or len(self.flying) >= WINDOW
        return self.is_ready and not busy


class ElasticFleet:
    """The workers of a run; see `drive.Fleet`."""

    def __init__(
        self, cluster: Cluster, run: RunSpec, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """No worker is started before there is something to do."""
        self._cluster = cluster
        self._run = run
        self._clock = clock
        self._workers: dict[int, _Worker] = {}
        self._room = 0
        self._looked_at = -_LOOK_S
        self._alive_at = clock()
        self._num_losses = 0
        self._mean_s = 0.0
        self._dropped: list[tuple[ShardTask, PreemptedError | RetryableError]] = []

    def fill(self, waiting: Waiting) -> None:
        """Start what is missing, and give every free worker its calls, the least busy first."""
        self._look_around()
        self._recruit(len(waiting))
        for load in range(WINDOW):
            for name, worker in self._workers.items():
                if not waiting:
                    return
                if worker.is_free and len(worker.flying) <= load:
                    self._hand_out(name, worker, waiting)

    def completed(self) -> Iterator[tuple[ShardTask, ShardRecord | BaseException]]:
        """Calls that ended within about a second.

        Raises:
            FactoryError: If workers are lost again and again, or none can be started.
        """
        for event in self._cluster.events(1.0):
            match event:
                case Ready(name, node) if name in self._workers:
                    self._workers[name].is_ready = True
                    self._workers[name].node = node
                case Completed(name, shard_index, result) if name in self._workers:
                    yield self._land(name, shard_index), result
                    self._dismiss_idle(name)
                case Lost(name, reason, is_innocent) if name in self._workers:
                    self._lose(name, reason, is_innocent=is_innocent)
                case _:
                    pass  # of a worker we have given up
        self._drop_overdue()
        self._check_patience()
        dropped, self._dropped = self._dropped, []
        yield from dropped

    def dismiss(self) -> None:
        """Kill all workers. Unfinished shards leave nothing that counts."""
        for name in self._workers:
            self._cluster.kill(name)
        self._workers.clear()

    def _hand_out(self, name: int, worker: _Worker, waiting: Waiting) -> None:
        """The next shard; one that failed before is made alone, so that no other shares its fate."""
        task, num_failed = waiting[0]
        if num_failed and worker.flying:
            return
        waiting.popleft()
        worker.is_suspect = num_failed > 0
        if not worker.flying:
            worker.quiet_since = self._clock()
        worker.flying[task.shard_index] = task
        self._cluster.assign(name, task)

    def _land(self, name: int, shard_index: int) -> ShardTask:
        worker, now = self._workers[name], self._clock()
        seconds = now - worker.quiet_since
        self._mean_s = seconds if not self._mean_s else 0.9 * self._mean_s + 0.1 * seconds
        worker.quiet_since = now
        worker.is_suspect = False
        worker.num_done += 1
        self._num_losses = 0
        if worker.num_done >= self._run.shards_per_actor:
            worker.is_retiring = True
        return worker.flying.pop(shard_index)

    def _dismiss_idle(self, name: int) -> None:
        worker = self._workers.get(name)
        if worker is not None and worker.is_retiring and not worker.flying:
            self._cluster.kill(name)
            del self._workers[name]
            log_event("worker_retired", shards=worker.num_done)

    def _lose(self, name: int, reason: str, *, is_innocent: bool) -> None:
        worker = self._workers.pop(name)
        self._num_losses += 1
        if self._num_losses > _MAX_LOSSES_IN_A_ROW * max(1, self._room):
            raise FactoryError(
                f"workers died {self._num_losses} times in a row without finishing a shard "
                f"({reason}); look at memory use and at Ray's logs, then run the job again"
            )
        log_event("worker_died", level=logging.WARNING, reason=reason)
        kind = PreemptedError if is_innocent else RetryableError
        text = f"its worker died ({reason})"
        self._dropped += [(task, kind(text)) for task in worker.flying.values()]
        self._looked_at = -_LOOK_S

    def _look_around(self) -> None:
        """Every few seconds: has the cluster grown, and is a node about to leave?"""
        now = self._clock()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        room = self._cluster.room()
        if room > self._room > 0:
            log_event("cluster_grew", workers=room)
        self._room = room
        for node, seconds_left in self._cluster.leaving().items():
            for name, worker in list(self._workers.items()):
                if worker.node == node:
                    self._retire(name, worker, seconds_left)

    def _retire(self, name: int, worker: _Worker, seconds_left: float) -> None:
        """A worker whose node leaves finishes what it can in time; the rest is dropped now."""
        if not worker.is_retiring:
            log_event("node_leaves", level=logging.WARNING, seconds_left=seconds_left)
        worker.is_retiring = True
        spent = self._clock() - worker.quiet_since
        if worker.flying and len(worker.flying) * self._mean_s - spent >= seconds_left:
            reason = PreemptedError(f"its node leaves in {seconds_left:.0f} s")
            self._dropped += [(task, reason) for task in worker.flying.values()]
            worker.flying.clear()
        self._dismiss_idle(name)

    def _recruit(self, num_waiting: int) -> None:
        wanted = self._room if self._run.num_actors == "auto" else self._run.num_actors
        workers = [worker for worker in self._workers.values() if not worker.is_retiring]
        num_flying = sum(len(worker.flying) for worker in workers)
        for _ in range(min(wanted, num_waiting + num_flying) - len(workers)):
            self._workers[self._cluster.start()] = _Worker()

    def _drop_overdue(self) -> None:
        """Kill workers that hang. Which of its shards hangs is unknown: each of them counts."""
        limit_s = self._run.shard_deadline_s
        now = self._clock()
        for name, worker in list(self._workers.items()):
            if worker.flying and now - worker.quiet_since > limit_s:
                self._cluster.kill(name)
                del self._workers[name]
                text = f"not done after {limit_s:g} s (run.shard_deadline_s): its worker was killed"
                log_event("worker_hangs", level=logging.WARNING, seconds=limit_s)
                self._dropped += [(task, RetryableError(text)) for task in worker.flying.values()]

    def _check_patience(self) -> None:
        if any(worker.is_ready for worker in self._workers.values()):
            self._alive_at = self._clock()
        if self._clock() - self._alive_at > _START_LIMIT_S:
            raise PluginError(
                f"run: no worker could start for {_START_LIMIT_S:g} s; the cluster holds "
                f"{self._room} of them: look at its nodes, then run the job again"
            )
