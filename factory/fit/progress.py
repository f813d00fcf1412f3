"""How far a fit has come: a stage, a count, and the time that the stage still needs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from factory.errors import Interrupted

OnProgress = Callable[[str, int, int, float | None], None]
"""Callback for the stage, how much of it is done, how much there is, and the seconds left (None =
unknown)."""

_EVERY_S = 0.2


@dataclass(slots=True)
class Progress:
    """Reports stages to a callback, a few times a second at most, and stops on request."""

    on_progress: OnProgress
    stop: threading.Event = field(default_factory=threading.Event)
    _stage: str = ""
    _total: int = 0
    _first: int = 0
    _done: int = 0
    _since: float = 0.0
    _reported_at: float = 0.0

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage at `done`; work done before does not count towards its speed."""
        self._stage, self._total, self._first, self._done = stage, total, done, done
        self._since = time.monotonic()
        self._report()

    def reach(self, done: int) -> None:
        """Set the stage's progress to `done`.

        Raises:
            Interrupted: If a stop was requested.
        """
        self._done = done
        if self.stop.is_set():
            raise Interrupted("stopped while fitting; run the same command again to resume")
        if done >= self._total or time.monotonic() - self._reported_at > _EVERY_S:
            self._report()

    def advance(self, count: int) -> None:
        """Increase the stage's progress by `count`; see `reach`."""
        self.reach(self._done + count)

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        made = self._done - self._first
        left = None
        if made > 0:
            left = (self._reported_at - self._since) / made * max(self._total - self._done, 0)
        self.on_progress(self._stage, self._done, self._total, left)
