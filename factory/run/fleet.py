"""An elastic fleet of workers: scheduling, replacement and retirement.

It does not depend on Ray: a `Cluster` starts and kills workers and reports events, so that the rules
are tested with clusters in memory and a simulated clock.
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
"""Calls in flight per worker: one computes while the other is still packing and committing.

With one, the accelerator would be idle at every shard border; with more than two, the death of a
worker would only lose more shards.
"""

# Per worker that the cluster can hold: a whole cluster that loses all its workers five times
# without one finished shard will not recover by itself.
_MAX_LOSSES_IN_A_ROW = 5
_CHECK_EVERY_S = 2.0
# A cluster may have to add nodes first, and every worker loads weights: starting takes minutes, not
# hours.
_START_LIMIT_S = 1800.0


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker has loaded its models and accepts calls."""

    worker: int
    node: str


@dataclass(frozen=True, slots=True)
class CallCompleted:
    """A call has returned or raised."""

    worker: int
    shard_index: int
    result: ShardRecord | BaseException


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker has died, with all its calls in flight."""

    worker: int
    reason: str
    is_preempted: bool
    """Its node went away: none of its shards can be the cause."""


Event = WorkerReady | CallCompleted | WorkerLost


@runtime_checkable
class Cluster(Protocol):
    """Starts and kills workers, and reports what happens to them."""

    def capacity(self) -> int:
        """Number of workers that the cluster can hold now, running ones included."""

    def start(self) -> int:
        """Start a worker; the event `WorkerReady` or `WorkerLost` follows."""

    def assign(self, worker: int, task: ShardTask) -> None:
        """Assign a task to a worker; the event `CallCompleted` or `WorkerLost` follows."""

    def kill(self, worker: int) -> None:
        """Kill a worker; no event follows."""

    def draining_nodes(self) -> Mapping[str, float]:
        """Nodes that are about to leave, with the seconds that each has left."""

    def events(self, timeout_s: float) -> Iterable[Event]:
        """Events since the last call, waiting for them at most `timeout_s`.

        Raises:
            FactoryError: If a worker could not be built: the same would happen to all.
        """


@dataclass(slots=True)
class _Worker:
    node: str = ""
    is_ready: bool = False
    is_retiring: bool = False
    is_suspect: bool = False
    """It is making a shard that has failed before, and gets no other one meanwhile."""
    num_done: int = 0
    last_progress_at: float = 0.0
    in_flight: dict[int, ShardTask] = field(default_factory=dict)

    @property
    def is_free(self) -> bool:
        """Whether another task may be assigned to it."""
        busy = self.is_retiring or self.is_suspect or len(self.in_flight) >= WINDOW
        return self.is_ready and not busy


class ElasticFleet:
    """The workers of a run; see `drive.Fleet`."""

    def __init__(
        self, cluster: Cluster, run: RunSpec, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Workers are started when there are tasks."""
        self._cluster = cluster
        self._run = run
        self._clock = clock
        self._workers: dict[int, _Worker] = {}
        self._capacity = 0
        self._checked_at = -_CHECK_EVERY_S
        self._alive_at = clock()
        self._num_losses = 0
        self._mean_s = 0.0
        self._dropped: list[tuple[ShardTask, PreemptedError | RetryableError]] = []

    def fill(self, waiting: Waiting) -> None:
        """Start missing workers, and assign tasks to free workers, the least busy first."""
        self._check_cluster()
        self._start_workers(len(waiting))
        # Every worker gets its first task before any gets its second: the last tasks of a run are
        # spread over all workers instead of queuing behind each other.
        for load in range(WINDOW):
            for name, worker in self._workers.items():
                if not waiting:
                    return
                if worker.is_free and len(worker.in_flight) <= load:
                    self._hand_out(name, worker, waiting)

    def completed(self) -> Iterator[tuple[ShardTask, ShardRecord | BaseException]]:
        """Wait about a second for calls to complete.

        Raises:
            FactoryError: If workers die repeatedly, or none can be started.
        """
        for event in self._cluster.events(1.0):
            match event:
                case WorkerReady(name, node) if name in self._workers:
                    self._workers[name].is_ready = True
                    self._workers[name].node = node
                case CallCompleted(name, shard_index, result) if name in self._workers:
                    yield self._finish_call(name, shard_index), result
                    self._remove_retired(name)
                case WorkerLost(name, reason, is_preempted) if name in self._workers:
                    self._handle_loss(name, reason, is_preempted=is_preempted)
                case _:
                    pass  # a late event of a worker that was killed
        self._kill_hung()
        self._check_start_limit()
        dropped, self._dropped = self._dropped, []
        yield from dropped

    def kill_all(self) -> None:
        """Kill all workers. Their unfinished shards are not committed."""
        for name in self._workers:
            self._cluster.kill(name)
        self._workers.clear()

    def _hand_out(self, name: int, worker: _Worker, waiting: Waiting) -> None:
        """Assign the next task; one that failed before is made alone, to isolate its effect."""
        # If it kills its worker again, no other shard of that worker is charged with a failed
        # attempt, and after a few rounds it is certain which shard is to blame.
        task, num_failed = waiting[0]
        if num_failed and worker.in_flight:
            return
        waiting.popleft()
        worker.is_suspect = num_failed > 0
        if not worker.in_flight:
            worker.last_progress_at = self._clock()
        worker.in_flight[task.shard_index] = task
        self._cluster.assign(name, task)

    def _finish_call(self, name: int, shard_index: int) -> ShardTask:
        worker, now = self._workers[name], self._clock()
        # A moving average of the time between two completions of a worker: whether a draining node
        # has time for another shard is decided by it.
        seconds = now - worker.last_progress_at
        self._mean_s = seconds if not self._mean_s else 0.9 * self._mean_s + 0.1 * seconds
        worker.last_progress_at = now
        worker.is_suspect = False
        worker.num_done += 1
        self._num_losses = 0
        # Generators and drivers may leak memory, so that workers are renewed now and then.
        if worker.num_done >= self._run.shards_per_actor:
            worker.is_retiring = True
        return worker.in_flight.pop(shard_index)

    def _remove_retired(self, name: int) -> None:
        worker = self._workers.get(name)
        if worker is not None and worker.is_retiring and not worker.in_flight:
            self._cluster.kill(name)
            del self._workers[name]
            log_event("worker_retired", shards=worker.num_done)

    def _handle_loss(self, name: int, reason: str, *, is_preempted: bool) -> None:
        worker = self._workers.pop(name)
        self._num_losses += 1
        if self._num_losses > _MAX_LOSSES_IN_A_ROW * max(1, self._capacity):
            raise FactoryError(
                f"workers died {self._num_losses} times in a row without finishing a shard "
                f"({reason}); look at memory use and at Ray's logs, then run the job again"
            )
        log_event("worker_died", level=logging.WARNING, reason=reason)
        kind = PreemptedError if is_preempted else RetryableError
        text = f"its worker died ({reason})"
        self._dropped += [(task, kind(text)) for task in worker.in_flight.values()]
        # A death often means that the cluster has changed: look at it before starting a
        # replacement.
        self._checked_at = -_CHECK_EVERY_S

    def _check_cluster(self) -> None:
        """Every few seconds: update the capacity, and retire workers on draining nodes."""
        now = self._clock()
        if now - self._checked_at < _CHECK_EVERY_S:
            return
        self._checked_at = now
        capacity = self._cluster.capacity()
        if capacity > self._capacity > 0:
            log_event("cluster_grew", workers=capacity)
        self._capacity = capacity
        for node, seconds_left in self._cluster.draining_nodes().items():
            for name, worker in list(self._workers.items()):
                if worker.node == node:
                    self._retire(name, worker, seconds_left)

    def _retire(self, name: int, worker: _Worker, seconds_left: float) -> None:
        """Retire a worker on a draining node; calls that would not complete in time are rescheduled."""
        if not worker.is_retiring:
            log_event("node_draining", level=logging.WARNING, seconds_left=seconds_left)
        worker.is_retiring = True
        spent = self._clock() - worker.last_progress_at
        if worker.in_flight and len(worker.in_flight) * self._mean_s - spent >= seconds_left:
            reason = PreemptedError(f"its node leaves in {seconds_left:.0f} s")
            self._dropped += [(task, reason) for task in worker.in_flight.values()]
            worker.in_flight.clear()
        self._remove_retired(name)

    def _start_workers(self, num_waiting: int) -> None:
        wanted = self._capacity if self._run.num_actors == "auto" else self._run.num_actors
        workers = [worker for worker in self._workers.values() if not worker.is_retiring]
        num_in_flight = sum(len(worker.in_flight) for worker in workers)
        for _ in range(min(wanted, num_waiting + num_in_flight) - len(workers)):
            self._workers[self._cluster.start()] = _Worker()

    def _kill_hung(self) -> None:
        """Kill workers without progress. Which of its shards hangs is unknown: each counts as failed."""
        limit_s = self._run.shard_deadline_s
        now = self._clock()
        for name, worker in list(self._workers.items()):
            if worker.in_flight and now - worker.last_progress_at > limit_s:
                self._cluster.kill(name)
                del self._workers[name]
                text = f"not done after {limit_s:g} s (run.shard_deadline_s): its worker was killed"
                log_event("worker_hung", level=logging.WARNING, seconds=limit_s)
                self._dropped += [
                    (task, RetryableError(text)) for task in worker.in_flight.values()
                ]

    def _check_start_limit(self) -> None:
        if any(worker.is_ready for worker in self._workers.values()):
            self._alive_at = self._clock()
        if self._clock() - self._alive_at > _START_LIMIT_S:
            raise PluginError(
                f"run: no worker could start for {_START_LIMIT_S:g} s; the cluster holds "
                f"{self._capacity} of them: look at its nodes, then run the job again"
            )
