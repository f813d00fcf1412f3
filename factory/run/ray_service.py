"""The manifest service as a named Ray actor, for the duration of a run.

A run does not depend on it: assignments are reported to it without waiting for an answer. If it
dies, Ray restarts it on the same port, and it reads everything from the store again.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from factory.data import ShardTask
from factory.errors import JobError
from factory.log import log_event
from factory.manifest.records import ShardRecord
from factory.run.base import WorkerConfig
from factory.run.drive import Fleet, Waiting
from factory.web.server import bind

_HOST = "127.0.0.1"
_REPORT_EVERY_S = 1.0
_START_LIMIT_S = 120


class _Service:
    """The actor: a thin wrapper around the view and its server."""

    def __init__(self, uri: str, port: int) -> None:
        from factory.serve.app import make_app
        from factory.serve.view import DatasetView
        from factory.store import open_store
        from factory.web.server import serve_beside

        self._view = DatasetView(open_store(uri))
        serve_beside(make_app(self._view, token=""), bind(_HOST, port))

    def set_in_flight(self, shard_indices: list[int]) -> None:
        self._view.set_in_flight(shard_indices)

    def ready(self) -> bool:
        return True


class NotifyingFleet:
    """Wraps a fleet and reports its tasks in flight to the service, once a second, without waiting."""

    def __init__(self, fleet: Fleet, service: Any) -> None:  # noqa: ANN401 - a Ray handle
        """Wrap `fleet`."""
        self._fleet = fleet
        self._service = service
        self._in_flight: set[int] = set()
        self._reported_at = -1e9

    def fill(self, waiting: Waiting) -> None:
        """Delegate to the fleet, and note the tasks that it assigned."""
        before = [task.shard_index for task, _ in waiting]
        self._fleet.fill(waiting)
        self._in_flight |= set(before) - {task.shard_index for task, _ in waiting}
        self._report()

    def completed(self) -> Iterator[tuple[ShardTask, ShardRecord | BaseException]]:
        """Delegate to the fleet, and note the tasks that completed."""
        completed: Iterable[tuple[ShardTask, ShardRecord | BaseException]] = self._fleet.completed()
        for task, result in completed:
            self._in_flight.discard(task.shard_index)
            yield task, result
        self._report()

    def _report(self) -> None:
        if time.monotonic() - self._reported_at < _REPORT_EVERY_S:
            return
        self._reported_at = time.monotonic()
        try:
            self._service.set_in_flight.remote(sorted(self._in_flight))
        except RayError:
            return  # it is being restarted


def service_name(tasks: Sequence[ShardTask]) -> str:
    """The actor's name, which contains the dataset's id: runs of several datasets share a cluster."""
    return f"factory-manifest-{tasks[0].dataset_id}"


@contextmanager
def serving(config: WorkerConfig, tasks: Sequence[ShardTask], fleet: Fleet) -> Iterator[Fleet]:
    """Context manager for the fleet, wrapped to report to the service if the job asks for one.

    Raises:
        JobError: If the port is taken.
    """
    if config.run.serve_port is None:
        yield fleet
        return
    probe = bind(_HOST, config.run.serve_port, setting="run.serve_port")
    port = probe.getsockname()[1]
    probe.close()
    here = ray.get_runtime_context().get_node_id()
    make = ray.remote(_Service).options(
        name=service_name(tasks),
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=4,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    try:
        service: Any = make.remote(config.output_uri, port)
    except ValueError as error:
        raise JobError(
            "run.serve_port: another run on this cluster serves this dataset; remove the setting, "
            "or use `factory serve`"
        ) from error
    log_event("serving", url=f"http://{_HOST}:{port}/")
    try:
        yield NotifyingFleet(fleet, service)
    finally:
        ray.kill(service)
