"""Make shards in this process: the same maker as on a cluster, without Ray."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.errors import JobError
from factory.manifest.records import ShardRecord
from factory.run.base import MoreTasks, Observer, Outcome, SampleObserver, WorkerConfig, no_more
from factory.run.drive import Waiting, drive
from factory.run.missing import NO_PAGE
from factory.run.worker import build_maker, configure_process
from factory.shard import ShardMaker

_WINDOW = 2
"""Calls in flight: one computes while the other is still packing."""


def run_inline(
    tasks: Sequence[ShardTask],
    config: WorkerConfig,
    observer: Observer,
    stop: threading.Event,
    attempts: Attempts,
    more: MoreTasks = no_more,
) -> Outcome:
    """Make the shards of all tasks in this process; see `base.Executor`.

    Raises:
        JobError: If the job asks for a manifest service, which is a Ray actor.
    """
    if config.run.serve_port is not None:
        raise JobError(NO_PAGE)
    configure_process()
    maker = build_maker(config)
    maker.stop = stop
    with ThreadPoolExecutor(_WINDOW, "shard") as threads:
        try:
            return drive(tasks, _Threads(maker, threads, observer), observer, stop, attempts, more)
        except BaseException:
            stop.set()  # otherwise the other call would keep the process alive
            raise


class _Threads:
    """A fleet of one maker, called from two threads."""

    def __init__(self, maker: ShardMaker, threads: ThreadPoolExecutor, observer: Observer) -> None:
        self._maker = maker
        self._observer = observer
        self._threads = threads
        self._in_flight: dict[Future[ShardRecord], ShardTask] = {}

    def fill(self, waiting: Waiting) -> None:
        """Keep two calls in flight."""
        while waiting and len(self._in_flight) < _WINDOW:
            task, _ = waiting.popleft()
            self._in_flight[self._threads.submit(self._maker.make, task)] = task

    def completed(self) -> Iterator[tuple[ShardTask, ShardRecord | BaseException]]:
        """Wait half a second for calls to complete."""
        for future in wait(self._in_flight, timeout=0.5, return_when=FIRST_COMPLETED).done:
            yield self._in_flight.pop(future), future.exception() or future.result()
        if isinstance(self._observer, SampleObserver):
            self._observer.underway(self._maker.underway.total)
