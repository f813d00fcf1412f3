"""Figures of a run over time, for the sinks that a job names. They never fail a run, nor hold it up."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.dataset.pace import pairs_per_s
from factory.errors import kind_in_words
from factory.log import log_event
from factory.manifest.records import ShardRecord
from factory.redact import shown
from factory.run.base import Observer, SampleObserver
from factory.run.fitting import FitObserver
from factory.run.missing import check_sinks
from factory.run.sinks import Sink, open_sinks
from factory.spec import JobSpec

EVERY_S = 1.0
"""Seconds between two writes, at least: a run may commit hundreds of shards a second."""
MOST_WORKERS = 16
"""Workers with figures of their own; a run on a cluster has thousands."""
_LATEST = 24
_MOST_WAITING = 1000
_LAST_S = 10.0

Row = tuple[int, dict[str, float]]
"""Samples by then, and figures by name."""


@runtime_checkable
class WholeObserver(FitObserver, Observer, Protocol):
    """Callbacks during a whole job."""


class RunFigures:
    """Makes the figures of a run from its receipts."""

    def __init__(self) -> None:
        """Start with none."""
        self._latest: deque[ShardRecord] = deque(maxlen=_LATEST)
        self._workers: set[str] = set()
        self._rejected = self._generated = self._failures = 0

    def add(self, record: ShardRecord) -> dict[str, float]:
        """The figures after a shard's commit, by name."""
        self._latest.append(record)
        rejected = sum(record.num_rejected.values())
        self._rejected += rejected
        self._generated += rejected + record.num_samples
        samples = max(record.num_samples, 1)
        found = {
            "rejected_share": self._rejected / max(self._generated, 1),
            "failed_attempts": float(self._failures),
            "ms_per_pair/generate": 1e3 * record.generate_s / samples,
            "ms_per_pair/other": 1e3 * max(record.wall_s - record.generate_s, 0.0) / samples,
        }
        rate = pairs_per_s(self._latest)
        if rate:
            found["pairs_per_s"] = rate
        if len(self._workers) < MOST_WORKERS:
            self._workers.add(record.worker)
        if record.worker in self._workers and record.wall_s:
            found[f"worker_pairs_per_s/{record.worker}"] = record.num_samples / record.wall_s
        return found

    def failed(self) -> None:
        """An attempt failed."""
        self._failures += 1


class FiguresObserver:
    """An observer that makes figures, and passes on what it is told."""

    def __init__(
        self, observer: WholeObserver, rows: "queue.Queue[Row | None]", every_s: float
    ) -> None:
        """Tell `observer` too, and put figures into `rows`."""
        self._observer = observer
        self._rows, self._every_s = rows, every_s
        self._figures, self._waiting = RunFigures(), dict[str, float]()
        self._samples, self._step, self._put_at = 0, 0, -1e9
        self.downloading, self.fitting = observer.downloading, observer.fitting
        if isinstance(observer, SampleObserver):
            self.underway = observer.underway

    def started(self, num_samples: int, num_done: int) -> None:
        """A round starts."""
        self._samples = num_done
        self._observer.started(num_samples, num_done)

    def committed(self, record: ShardRecord) -> None:
        """A shard was committed."""
        self._observer.committed(record)
        self._samples += record.num_samples
        self._waiting |= self._figures.add(record)
        if time.monotonic() - self._put_at >= self._every_s:
            self.put()

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """An attempt failed."""
        self._figures.failed()
        self._observer.failed(task, reason, again=again)

    def put(self) -> None:
        """Hand over what was not yet; a sink that is too slow for it gets gaps."""
        if self._waiting and not self._rows.full():
            # A round's receipts may hold a shard whose commit is told later, and is then counted twice
            # until the next round starts: a step must not be less than the one before.
            self._step = max(self._step, self._samples)
            self._rows.put((self._step, self._waiting))
            self._waiting, self._put_at = {}, time.monotonic()


@contextmanager
def drawing(spec: JobSpec, observer: WholeObserver) -> Iterator[WholeObserver]:
    """Context manager for an observer of the run that also feeds the job's sinks.

    Raises:
        PluginError: If the library of one is not installed.
        JobError: If the address of one is in an environment variable that is not set.
    """
    check_sinks(spec.run)
    if spec.run.tensorboard is None and spec.run.mlflow is None:
        yield observer
        return
    rows: queue.Queue[Row | None] = queue.Queue(_MOST_WAITING)
    failed = threading.Event()
    # A thread of its own: a tracking server that is away is waited for, and not by the run.
    thread = threading.Thread(
        target=_write_all, args=(spec, rows, failed), name="figures", daemon=True
    )
    thread.start()
    watched = FiguresObserver(observer, rows, EVERY_S)
    try:
        yield watched
    except BaseException:
        failed.set()
        raise
    finally:
        watched.put()
        if not rows.full():
            rows.put(None)
        thread.join(_LAST_S)
        if thread.is_alive():  # its library may go on trying for minutes
            reason = f"no answer within {_LAST_S} s of the end"
            log_event("figures_failed", level=logging.WARNING, reason=reason)


def _write_all(spec: JobSpec, rows: "queue.Queue[Row | None]", failed: threading.Event) -> None:
    """Write rows until None comes; the first failure is told, and ends it."""
    sinks: list[Sink] = []
    try:
        sinks = open_sinks(spec)
        while (row := rows.get()) is not None:
            _write(sinks, *row)
        for sink in sinks:
            sink.close(has_failed=failed.is_set())
    except Exception as error:  # noqa: BLE001 - of any library, for reasons of its own
        reason = shown(error).strip().splitlines() or [kind_in_words(error)]
        log_event("figures_failed", level=logging.WARNING, reason=reason[0])


def _write(sinks: list[Sink], samples: int, figures: Mapping[str, float]) -> None:
    for sink in sinks:
        sink.write(figures, samples)
