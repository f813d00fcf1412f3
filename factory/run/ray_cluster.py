"""Run shards and fits on Ray actors. Besides `ray_session.py` and `ray_service.py`, none knows Ray.

Pixels never cross Ray, a result is a small record. Actors are not restarted by Ray: `fleet.py` and
`ray_fit.py` see deaths and start replacements. Here is only how Ray is asked and what it answers.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import (
    ActorDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.errors import RetryableError
from factory.fit.pixels.sampling import NUM_PARTS
from factory.generate.base import GeneratorFacts
from factory.manifest.records import ShardRecord
from factory.run.base import MoreTasks, Observer, Outcome, WorkOrder, no_more
from factory.run.drive import drive
from factory.run.fleet import WINDOW, Completed, ElasticFleet, Event, Lost, Ready
from factory.run.ray_fit import Call, DistributedPool, FitWorker, WorkerDied
from factory.run.ray_service import serving
from factory.run.ray_session import actors_that_fit, joined_cluster, num_actors_of
from factory.run.remote_errors import Attempt, reason_of_death, start_error, was_told_to_go
from factory.run.signals import stop_on_signals
from factory.spec import RunSpec

if TYPE_CHECKING:
    from factory.shard import ShardMaker

# As in `configure_process`, but before Ray's own threads have arenas.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}


class _Worker:
    """The actor: a shell around `ShardMaker`, so that everything is tested without Ray."""

    def __init__(self, order: WorkOrder) -> None:
        self._maker = Attempt(partial(_build, order))

    def node(self) -> str:
        self._maker.get()  # the first call: it says whether the worker can be used
        return str(ray.get_runtime_context().get_node_id())

    def make(self, task: ShardTask) -> ShardRecord:
        return self._maker.get().make(task)


def _build(order: WorkOrder) -> "ShardMaker":
    from factory.run.worker import build_maker, configure_process

    configure_process()
    return build_maker(order)


def run_on_ray(
    tasks: Sequence[ShardTask],
    order: WorkOrder,
    observer: Observer,
    stop: threading.Event,
    attempts: Attempts,
    more: MoreTasks = no_more,
) -> Outcome:
    """Make every task's shard on actors; see `base.Executor`."""
    with joined_cluster(order.run), stop_on_signals(stop):
        num_actors_of(order.run)
        fleet = ElasticFleet(_Actors(order), order.run)
        try:
            with serving(order, tasks, fleet) as watched:
                return drive(tasks, watched, observer, stop, attempts, more)
        finally:
            fleet.dismiss()


@contextmanager
def fit_on_ray(order: WorkOrder) -> Iterator[DistributedPool]:
    """The fitting pixels of a job on actors, for as long as the context lasts.

    Raises:
        PluginError: If the cluster cannot be reached or does not hold the actors.
    """
    with joined_cluster(order.run):
        group = _FitWorkers(order)
        try:
            yield DistributedPool(group, group.workers)
        finally:
            for worker in group.workers:
                ray.kill(worker)


class _FitWorkers:
    """The actors of a fit; see `ray_fit.FitWorkers`."""

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._make_actor = ray.remote(FitWorker).options(
            **_options(order.run, calls=order.run.threads_per_actor)
        )
        self.workers: list[Any] = []
        first = self.start()
        try:
            self.facts: GeneratorFacts = ray.get(first.facts.remote())
        except RayTaskError as error:
            raise start_error(error.cause) from error
        except ActorDiedError as error:
            raise start_error(error) from error
        for _ in range(min(num_actors_of(order.run), NUM_PARTS) - 1):
            self.start()

    def start(self) -> Any:  # noqa: ANN401
        self.workers.append(self._make_actor.remote(self._order))
        return self.workers[-1]

    def call(self, worker: Any, part: int, calls: Sequence[Call], *, is_new: bool) -> Any:  # noqa: ANN401
        return worker.answer.remote(part, calls, is_new=is_new)

    def completed(self, promises: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        ready, _ = ray.wait(list(promises), num_returns=1, timeout=1)
        for promise in ready:
            try:
                yield promise, ray.get(promise)
            except RayTaskError as error:
                yield promise, error.cause if isinstance(error.cause, Exception) else error
            except RayError as error:
                yield promise, WorkerDied(reason_of_death(error))


class _Actors:
    """Actors and the calls they are working on; see `fleet.Cluster`."""

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._make_actor = ray.remote(_Worker).options(**_options(order.run, calls=WINDOW))
        self._names = count()
        self._actors: dict[int, Any] = {}
        self._nodes: dict[int, str] = {}
        self._calls: dict[Any, tuple[int, int | None]] = {}

    def room(self) -> int:
        """Actors that the nodes which are there now can hold."""
        return actors_that_fit(self._order.run)

    def start(self) -> int:
        """Begin an actor, and ask where it is: the answer comes when it is built."""
        name = next(self._names)
        self._actors[name] = self._make_actor.remote(self._order)
        self._calls[self._actors[name].node.remote()] = (name, None)
        return name

    def assign(self, worker: int, task: ShardTask) -> None:
        """Call an actor."""
        self._calls[self._actors[worker].make.remote(task)] = (worker, task.shard_index)

    def kill(self, worker: int) -> None:
        """End an actor, and forget its calls."""
        ray.kill(self._actors.pop(worker))
        self._calls = {call: what for call, what in self._calls.items() if what[0] != worker}

    def leaving(self) -> dict[str, float]:
        """Draining nodes. Ray tells only through a private client: without it, nothing is known."""
        try:
            worker = vars(ray._private.worker)["global_worker"]
            deadlines = worker.gcs_client.get_draining_nodes()
        except Exception:  # noqa: BLE001 - a private interface may change in any way
            return {}
        now_ms = time.time() * 1000
        return {node: (ms - now_ms) / 1000 if ms else 3600.0 for node, ms in deadlines.items()}

    def events(self, timeout_s: float) -> Iterator[Event]:
        """What happened, waiting for it at most `timeout_s`."""
        if not self._calls:
            time.sleep(timeout_s)
        ready, _ = ray.wait(list(self._calls), timeout=timeout_s) if self._calls else ([], [])
        for call in ready:
            worker, shard_index = self._calls.pop(call)
            try:
                result = ray.get(call)
            except RayTaskError as error:
                result = error.cause if isinstance(error.cause, Exception) else error
                if shard_index is None:
                    raise start_error(result) from error
            except RayError as error:
                if shard_index is None or isinstance(error, (RayActorError, OutOfMemoryError)):
                    yield self._bury(worker, error)
                    continue
                result = RetryableError(f"{type(error).__name__} in its worker")
            if shard_index is None:
                self._nodes[worker] = result
                yield Ready(worker, result)
            else:
                yield Completed(worker, shard_index, result)

    def _bury(self, worker: int, error: RayError) -> Lost:
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            raise start_error(error)
        if worker in self._actors:
            self.kill(worker)
        return _loss(worker, self._nodes.pop(worker, ""), error)


def _loss(worker: int, node: str, error: RayError) -> Lost:
    """Why an actor is gone: its node went, or was told to; or the actor alone died."""
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    dead = {entry["NodeID"] for entry in entries if not entry["Alive"]}
    is_cut_off = not isinstance(error, (ActorDiedError, OutOfMemoryError))
    if is_cut_off or node in dead or was_told_to_go(error):
        return Lost(worker, "its node is gone or leaves", is_innocent=True)
    return Lost(worker, reason_of_death(error), is_innocent=False)


def _options(run: RunSpec, *, calls: int) -> dict[str, Any]:
    """What an actor takes of its machine, and how many calls it answers side by side."""
    return {
        "num_cpus": run.threads_per_actor,
        "num_gpus": run.gpus_per_actor,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": calls,
        "runtime_env": {"env_vars": _ALLOCATOR},
    }
