"""Progress of a job: a progress bar on a terminal, one log line per event elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from factory.data import ShardTask
from factory.log import log_event, logging_to_stderr
from factory.manifest.records import ShardRecord
from factory.redact import shown

_FIT_EVERY_S = 5.0


class LogObserver:
    """Observer that writes one log line per event."""

    def __init__(self) -> None:
        """Start measuring time."""
        self._planned = 0
        self._done = 0
        self._made = 0
        self._tenth = 0
        self._stage = ""
        self._told = 0.0
        self._start = time.monotonic()

    def downloading(self, num_bytes: int, total_bytes: int) -> None:
        """Log every tenth of a download."""
        tenth = 10 * num_bytes // total_bytes if total_bytes else num_bytes >> 26
        if tenth > self._tenth:
            self._tenth = tenth
            log_event("downloading", bytes=num_bytes, of=total_bytes or "unknown")

    def fitting(self, stage: str, num_done: int, num_total: int, eta_s: float | None) -> None:
        """Log the start and end of a stage, and its progress every few seconds."""
        now = time.monotonic()
        is_new = stage != self._stage
        if not is_new and num_done < num_total and now - self._told < _FIT_EVERY_S:
            return
        self._stage, self._told = stage, now
        left = {} if eta_s is None else {"eta_s": round(eta_s)}
        log_event("fitting", stage=stage, done=f"{num_done}/{num_total}", **left)

    def started(self, num_samples: int, num_done: int) -> None:
        """Log how many samples are planned and how many exist."""
        self._planned, self._done, self._start = num_samples, num_done, time.monotonic()
        self._made = 0
        log_event("run_started", samples=num_samples, done=num_done)

    def committed(self, record: ShardRecord) -> None:
        """Log the shard, the rate and the estimated time left."""
        self._made += record.num_samples
        rate = self._made / max(time.monotonic() - self._start, 1e-9)
        left = self._planned - self._done - self._made
        log_event(
            "shard_committed",
            shard=record.shard_index,
            samples=record.num_samples,
            done=f"{self._done + self._made}/{self._planned}",
            pairs_per_s=rate,
            eta_s=round(max(left, 0) / rate),
        )

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """Log which shard failed, and whether it is retried or quarantined."""
        event = "shard_retry" if again else "shard_quarantined"
        log_event(event, level=logging.WARNING, shard=task.name, reason=reason)


class BarObserver:
    """Observer that shows progress bars with rate and time left on a terminal."""

    def __init__(self) -> None:
        """Prepare the display."""
        self.progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._fetch: TaskID | None = None
        self._fit: dict[str, TaskID] = {}
        self._run: TaskID | None = None
        self._done = 0
        self._made = 0
        self._underway = 0
        self._start = time.monotonic()

    def downloading(self, num_bytes: int, total_bytes: int) -> None:
        """Update the download's bar."""
        total = total_bytes or None
        if self._fetch is None:
            self._fetch = self.progress.add_task("fetching", total=total, rate="bytes")
        self.progress.update(self._fetch, completed=num_bytes, total=total)

    def fitting(self, stage: str, num_done: int, num_total: int, eta_s: float | None) -> None:
        """Update the stage's bar; each stage has its own."""
        left = "" if eta_s is None or num_done == num_total else f", {eta_s:,.0f} s left"
        if stage not in self._fit:
            self._fit[stage] = self.progress.add_task("fitting", total=num_total, rate=stage)
        self.progress.update(self._fit[stage], completed=num_done, rate=f"{stage}{left}")

    def started(self, num_samples: int, num_done: int) -> None:
        """Add a bar for a round, starting at the samples that exist."""
        self._done, self._made, self._underway = num_done, 0, 0
        self._start = time.monotonic()
        self._run = self.progress.add_task(
            "making", total=num_samples, completed=num_done, rate="pairs"
        )

    def committed(self, record: ShardRecord) -> None:
        """Count the shard's samples as committed."""
        self._made += record.num_samples
        self._underway = max(0, self._underway - record.num_samples)
        self._show()

    def underway(self, num_samples: int) -> None:
        """Move the round's bar by the samples of unfinished shards."""
        self._underway = num_samples
        self._show()

    def _show(self) -> None:
        made = self._made + self._underway
        rate = made / max(time.monotonic() - self._start, 1e-9)
        if self._run is not None:
            text = f"{rate:,.0f} pairs/s"
            self.progress.update(self._run, completed=self._done + made, rate=text)

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """Print a line above the bars."""
        what = "retrying" if again else "put into quarantine"
        self.progress.console.print(
            f"{task.name}: {what}: {shown(reason)}", markup=False, highlight=False
        )


class SilentObserver:
    """Discards all progress."""

    def downloading(self, num_bytes: int, total_bytes: int) -> None:
        """Say nothing."""

    def fitting(self, stage: str, num_done: int, num_total: int, eta_s: float | None) -> None:
        """Say nothing."""

    def started(self, num_samples: int, num_done: int) -> None:
        """Say nothing."""

    def committed(self, record: ShardRecord) -> None:
        """Say nothing."""

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """Say nothing."""


@contextmanager
def progress_reporter(
    *, progress: bool = True
) -> Iterator[LogObserver | BarObserver | SilentObserver]:
    """Context manager for an observer: bars where they can be drawn, log lines elsewhere.

    Bars are drawn on a terminal, and in a notebook that has widgets. Without `progress` nothing is
    shown.
    """
    if not progress:
        yield SilentObserver()
        return
    is_terminal = (
        sys.stderr is not None and sys.stderr.isatty()
    )  # None in a program without streams
    if not (is_terminal or _in_notebook()):
        with logging_to_stderr():
            yield LogObserver()
        return
    observer = BarObserver()
    with observer.progress:
        yield observer


def _in_notebook() -> bool:
    """Whether rich draws into a notebook: it needs widgets there to draw a line again."""
    return Console().is_jupyter and find_spec("ipywidgets") is not None
