"""Run shards on Ray actors. Only this file and `ray_service.py` know Ray.

The driver keeps two calls per actor in flight, which hides its own latency; pixels never cross Ray,
a result is a small record. Actors are not restarted by Ray: the driver sees a death, counts the
attempt, sends the shard elsewhere and starts a replacement.
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from factory.data import ShardTask
from factory.errors import FactoryError, JobError, PluginError, RetryableError
from factory.log import log_event
from factory.manifest import ShardRecord
from factory.run.base import MoreTasks, Observer, Outcome, WorkOrder, no_more
from factory.run.drive import Waiting, describe, drive
from factory.run.ray_service import serving
from factory.run.signals import stop_on_signals
from factory.spec import RunSpec

_WINDOW = 2
_MAX_DEATHS_IN_A_ROW = 5
_KNOCK_S = 10
_OBJECT_STORE_BYTES = 128 * 2**20  # records only: Ray's default of 30 % of memory would be wasted
_ALLOCATOR = {  # as in `settle_process`, but before Ray's own threads have arenas
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
}
_LOCAL = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class _Worker:
    """The actor: a shell around `ShardMaker`, so that everything is tested without Ray."""

    def __init__(self, order: WorkOrder) -> None:
        from factory.run.worker import build_maker, settle_process

        settle_process()
        self._maker = build_maker(order)

    def make(self, task: ShardTask) -> ShardRecord:
        return self._maker.make(task)


def run_on_ray(
    tasks: Sequence[ShardTask],
    order: WorkOrder,
    observer: Observer,
    stop: threading.Event,
    more: MoreTasks = no_more,
) -> Outcome:
    """Make every task's shard on actors; see `base.Executor`."""
    with _cluster(order.run), stop_on_signals(stop):
        fleet = _Fleet(order, most=len(tasks) if more is no_more else sys.maxsize)
        try:
            with serving(order, tasks, fleet) as watched:
                return drive(tasks, watched, observer, stop, more)
        finally:
            fleet.dismiss()


class _Fleet:
    """The actors of a run and the calls they are working on."""

    def __init__(self, order: WorkOrder, *, most: int) -> None:
        self._order = order
        self._make_actor = ray.remote(_Worker).options(
            num_cpus=order.run.threads_per_actor,
            num_gpus=order.run.gpus_per_actor,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_WINDOW,
            runtime_env={"env_vars": _ALLOCATOR},
        )
        self._flying: dict[Any, tuple[ShardTask, int, Any]] = {}
        self._deaths = 0
        count = min(_num_actors(order.run), max(most, 1))
        self._load = {self._start(): 0 for _ in range(count)}

    def fill(self, waiting: Waiting) -> None:
        """Give every actor two calls, the least busy first."""
        while waiting:
            actor = min(self._load, key=lambda a: self._load[a])
            if self._load[actor] >= _WINDOW:
                return
            task, attempt = waiting.popleft()
            self._flying[actor.make.remote(task)] = (task, attempt, actor)
            self._load[actor] += 1

    def landed(self) -> Iterator[tuple[ShardTask, int, ShardRecord | BaseException]]:
        """Calls that have ended within the next second, with their record or error.

        Raises:
            FactoryError: If workers die again and again before they finish anything.
        """
        ready, _ = ray.wait(list(self._flying), num_returns=1, timeout=1)
        for reference in ready:
            task, attempt, actor = self._flying.pop(reference)
            if actor in self._load:
                self._load[actor] -= 1
            try:
                record = ray.get(reference)
                self._deaths = 0
                yield task, attempt, record
            except RayTaskError as error:
                yield task, attempt, error.cause if isinstance(error.cause, Exception) else error
            except RayActorError as error:
                self._replace(actor, error)
                yield task, attempt, RetryableError(f"its worker died ({_reason(error)})")
            except RayError as error:
                yield task, attempt, RetryableError(f"{type(error).__name__} in its worker")

    def dismiss(self) -> None:
        """Kill all actors. Unfinished shards leave nothing that counts."""
        for actor in self._load:
            ray.kill(actor)

    def _start(self) -> Any:  # noqa: ANN401 - Ray's actor handles have no useful type
        return self._make_actor.remote(self._order)

    def _replace(self, actor: Any, error: RayActorError) -> None:  # noqa: ANN401
        if actor not in self._load:
            return  # its other call has told us already
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            raise _constructor_error(error)
        self._deaths += 1
        if self._deaths > _MAX_DEATHS_IN_A_ROW:
            raise FactoryError(
                f"workers died {self._deaths} times in a row without finishing a shard "
                f"({_reason(error)}); look at memory use and at Ray's logs, then run the job again"
            )
        log_event("worker_died", level=logging.WARNING, reason=_reason(error))
        del self._load[actor]
        self._load[self._start()] = 0


def _constructor_error(error: ActorDiedError) -> Exception:
    """What a worker raised while it was being built: wrong for one, wrong for all."""
    cause = error.__cause__ or error.__context__
    text = str(error)
    if isinstance(cause, FactoryError):
        return cause
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        kind, _, message = line.strip().partition(": ")
        name = kind.rsplit(".", 1)[-1]
        if name.endswith("Error") and kind.startswith("factory.errors."):
            return _ERRORS.get(name, FactoryError)(message)
    return FactoryError(f"a worker could not start: {lines[-1] if lines else 'no message'}")


_ERRORS: dict[str, type[FactoryError]] = {
    kind.__name__: kind for kind in [*JobError.__subclasses__(), *FactoryError.__subclasses__()]
}


def _reason(error: BaseException) -> str:
    """Why an actor is gone, as far as Ray knows: it cannot tell a kill from a lack of memory."""
    if "SIGKILL" in str(error) or "OOM" in str(error):
        return "killed, or out of memory"
    return type(error).__name__


def _num_actors(run: RunSpec) -> int:
    """How many actors the cluster holds, or the job asks for.

    Raises:
        PluginError: If the cluster cannot hold them; Ray would wait for ever.
    """
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    room = int(cpus // run.threads_per_actor)
    if run.gpus_per_actor > 0:
        room = min(room, int(gpus / run.gpus_per_actor))
    wanted = room if run.num_actors == "auto" else run.num_actors
    if not 0 < wanted <= room:
        raise PluginError(
            f"run: {max(wanted, 1)} actors with {run.threads_per_actor} CPUs and "
            f"{run.gpus_per_actor:g} GPUs each do not fit this cluster ({cpus:g} CPUs, {gpus:g} "
            "GPUs); lower run.num_actors, run.threads_per_actor or run.gpus_per_actor, or add nodes"
        )
    return wanted


def _knock(address: str | None) -> None:
    """Fail within seconds when nobody listens at `address`; Ray itself tries for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


@contextmanager
def _cluster(run: RunSpec) -> Iterator[None]:
    """Join the cluster of the job, or start one on this machine for as long as the run lasts."""
    for name, value in _LOCAL.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if run.address is None:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        wanted = run.num_actors if isinstance(run.num_actors, int) else 0
        needed = wanted * run.threads_per_actor
        options["num_cpus"] = max(os.cpu_count() or 1, needed)
    else:
        options["address"] = run.address
    try:
        _knock(run.address)
        ray.init(**options)
    except (ValueError, RuntimeError, OSError) as error:
        raise PluginError(
            f"run.address: cannot reach a Ray cluster at {run.address or 'this machine'!r} "
            f"({describe(error)}); start one with `ray start --head`, or use run.executor: inline"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
