"""Run shards and fits on Ray actors. Only this file, `ray_session.py` and `ray_service.py` import Ray.

Pixels never pass through Ray; results are small records. Ray does not restart actors: `fleet.py` and
`ray_fit.py` handle deaths and start replacements. This file only translates to and from Ray.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from factory.errors import RetryableError, kind_in_words
from factory.fit.pixels.sampling import NUM_PARTS
from factory.generate.base import GeneratorFacts
from factory.manifest.makers import Maker
from factory.manifest.records import ShardRecord
from factory.run.base import (
    MakerObserver,
    MoreTasks,
    Observer,
    Outcome,
    WorkerConfig,
    no_more,
)
from factory.run.drive import drive
from factory.run.fleet import WINDOW, CallCompleted, ElasticFleet, Event, WorkerLost, WorkerReady
from factory.run.ray_fit import Call, DistributedPixelPool, FitWorker, WorkerDied
from factory.run.ray_service import serving
from factory.run.ray_session import (
    actors_that_fit,
    actors_to_start,
    decided,
    joined_cluster,
    num_actors_of,
    workers_per_machine,
)
from factory.run.remote_errors import BuildResult, start_error, was_told_to_go
from factory.run.signals import stop_on_signals
from factory.run.underway import AskedWorkers
from factory.spec import RunSpec

if TYPE_CHECKING:
    from factory.shard import ShardMaker

# The settings of `configure_process` as environment variables: in a Ray worker, Ray's own threads
# have created their arenas before `mallopt` can be called.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}


class _Worker:
    """The actor: a shell around `ShardMaker`, so that everything is tested without Ray."""

    def __init__(self, config: WorkerConfig) -> None:
        self._maker = BuildResult(partial(_build, config))

    def join(self) -> tuple[str, Maker]:
        maker = self._maker.get()  # the first call reports whether the worker could be built
        return str(ray.get_runtime_context().get_node_id()), maker.maker

    def make(self, task: ShardTask) -> ShardRecord:
        return self._maker.get().make(task)

    def num_underway(self) -> int:
        return self._maker.get().underway.total


def _build(config: WorkerConfig) -> "ShardMaker":
    from factory.run.worker import build_maker, configure_process

    configure_process()
    return build_maker(config)


def run_on_ray(
    tasks: Sequence[ShardTask],
    config: WorkerConfig,
    observer: Observer,
    stop: threading.Event,
    attempts: Attempts,
    more: MoreTasks = no_more,
) -> Outcome:
    """Make the shards of all tasks on actors; see `base.Executor`."""
    with joined_cluster(config.run), stop_on_signals(stop):
        config = _decided(config)
        num_actors_of(config.run)
        fleet = ElasticFleet(_Actors(config, observer), config.run)
        try:
            with serving(config, tasks, fleet) as watched:
                return drive(tasks, watched, observer, stop, attempts, more)
        finally:
            fleet.kill_all()


@contextmanager
def fit_on_ray(config: WorkerConfig) -> Iterator[DistributedPixelPool]:
    """Context manager for the fitting pixels of a job, distributed over actors.

    Raises:
        PluginError: If the cluster cannot be reached or has no capacity for the actors.
    """
    with joined_cluster(config.run):
        group = _FitWorkers(_decided(config))
        try:
            yield DistributedPixelPool(group, group.workers)
        finally:
            for worker in group.workers:
                ray.kill(worker)


def _decided(config: WorkerConfig) -> WorkerConfig:
    """The config of workers on the cluster that was joined."""
    run = decided(config.run)
    return replace(config, run=run, workers_per_machine=workers_per_machine(run))


class _FitWorkers:
    """Ray actors of a fit; see `ray_fit.FitWorkers`."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._make_actor = ray.remote(FitWorker).options(
            **_options(config.run, calls=config.run.threads_per_actor)
        )
        self.workers: list[Any] = []
        first = self.start()
        try:
            self.facts: GeneratorFacts = ray.get(first.facts.remote())
        except RayTaskError as error:
            raise start_error(error.cause) from error
        except ActorDiedError as error:
            raise start_error(error) from error
        # Parts are given out once, to workers that are there: with `max_actors`, those of the nodes
        # that came for the first one.
        present = max(1, min(actors_that_fit(config.run), num_actors_of(config.run)))
        for _ in range(min(present, NUM_PARTS) - 1):
            self.start()

    def start(self) -> Any:  # noqa: ANN401
        self.workers.append(self._make_actor.remote(self._config))
        return self.workers[-1]

    def call(self, worker: Any, part: int, calls: Sequence[Call], *, is_new: bool) -> Any:  # noqa: ANN401
        return worker.answer.remote(part, calls, is_new=is_new)

    def completed(self, futures: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        ready, _ = ray.wait(list(futures), num_returns=1, timeout=1)
        for future in ready:
            try:
                yield future, ray.get(future)
            except RayTaskError as error:
                yield future, error.cause if isinstance(error.cause, Exception) else error
            except RayError as error:
                yield future, WorkerDied(reason_of_death(error))


class _Actors:
    """Ray actors and their calls in flight; see `fleet.Cluster`."""

    def __init__(self, config: WorkerConfig, observer: Observer) -> None:
        self._config = config
        self._observer = observer
        # One call more than it works on: it is asked meanwhile how far it is.
        self._make_actor = ray.remote(_Worker).options(**_options(config.run, calls=WINDOW + 1))
        self._names = count()
        self._actors: dict[int, Any] = {}
        self._nodes: dict[int, str] = {}
        self._calls: dict[Any, tuple[int, int | None]] = {}
        self._progress = AskedWorkers(observer, _counts_of)

    def capacity(self) -> int:
        """Number of actors that the nodes can hold which are there, or may come."""
        return actors_to_start(self._config.run)

    def start(self) -> int:
        """Start an actor and ask it to join: the answer arrives when it has been built."""
        name = next(self._names)
        self._actors[name] = self._make_actor.remote(self._config)
        self._calls[self._actors[name].join.remote()] = (name, None)
        return name

    def assign(self, worker: int, task: ShardTask) -> None:
        """Call an actor asynchronously."""
        self._calls[self._actors[worker].make.remote(task)] = (worker, task.shard_index)

    def kill(self, worker: int) -> None:
        """Kill an actor, and drop its calls."""
        ray.kill(self._actors.pop(worker))
        self._nodes.pop(worker, None)
        self._calls = {call: what for call, what in self._calls.items() if what[0] != worker}

    def draining_nodes(self) -> dict[str, float]:
        """Draining nodes. Only a private client of Ray knows them: without it, none are reported."""
        try:
            worker = vars(ray._private.worker)["global_worker"]
            deadlines = worker.gcs_client.get_draining_nodes()
        except Exception:  # noqa: BLE001 - a private interface may change in any way
            return {}
        now_ms = time.time() * 1000
        return {node: (ms - now_ms) / 1000 if ms else 3600.0 for node, ms in deadlines.items()}

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Events since the last call, waiting for them at most `timeout_s`."""
        if not self._calls:
            time.sleep(timeout_s)
        ready, _ = ray.wait(list(self._calls), timeout=timeout_s) if self._calls else ([], [])
        self._progress.ask({n: self._actors[n].num_underway.remote for n in self._nodes})
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
                    yield self._handle_death(worker, error)
                    continue
                result = RetryableError(f"{kind_in_words(error)} in its worker")
            if shard_index is None:
                yield self._joined(worker, *result)
            else:
                yield CallCompleted(worker, shard_index, result)

    def _joined(self, worker: int, node: str, maker: Maker) -> WorkerReady:
        if worker in self._actors:
            self._nodes[worker] = node
        if isinstance(self._observer, MakerObserver):
            self._observer.joined(maker)
        return WorkerReady(worker, node)

    def _handle_death(self, worker: int, error: RayError) -> WorkerLost:
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            raise start_error(error)
        node = self._nodes.get(worker, "")
        if worker in self._actors:
            self.kill(worker)
        return loss_of(worker, node, error)


def _counts_of(calls: list[Any]) -> Iterator[tuple[Any, int]]:
    """Those calls that have returned, each with the count it returned."""
    ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
    for call in ready:
        try:
            yield call, ray.get(call)
        except RayError:  # that its worker died is told where its shards are
            yield call, 0


def loss_of(worker: int, node: str, error: RayError) -> WorkerLost:
    """Classify the death of an actor: its node left (preempted), or the actor alone died."""
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    dead = {entry["NodeID"] for entry in entries if not entry["Alive"]}
    is_cut_off = not isinstance(error, (ActorDiedError, OutOfMemoryError))
    is_taken_away = isinstance(error, RayActorError) and error.preempted
    if is_cut_off or is_taken_away or node in dead or was_told_to_go(error):
        return WorkerLost(worker, "its node is gone or leaves", is_preempted=True)
    return WorkerLost(worker, reason_of_death(error), is_preempted=False)


def reason_of_death(error: RayError) -> str:
    """Why an actor died, as far as Ray knows: how its process ended it cannot tell."""
    if isinstance(error, OutOfMemoryError):
        return "ended by Ray, because its node was running out of memory"
    if isinstance(error, ActorDiedError):
        return "killed, crashed, or out of memory"
    return kind_in_words(error)


def _options(run: RunSpec, *, calls: int) -> dict[str, Any]:
    """Resources of an actor, and how many calls it runs concurrently."""
    return {
        # No restarts and retries by Ray: a restarted actor would repeat the call that killed it,
        # uncounted.
        "num_cpus": run.threads_per_actor,
        "num_gpus": run.gpus_per_actor,
        "resources": dict(run.resources),
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": calls,
        "runtime_env": {"env_vars": _ALLOCATOR},
    }
