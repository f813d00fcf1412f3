"""How far a fit has come: a stage, a count, and the time that the stage still needs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from factory.errors import Interrupted

OnProgress = Callable[[str, int, int, float | None], None]
"""Is given the stage, how much of it is done, how much there is, and the seconds it still needs
(None while nobody can know)."""

_EVERY_S = 0.2


@dataclass(slots=True)
class Progress:
    """Tells an observer of stages, several times a second at most, and stops when asked to."""

    on_progress: OnProgress
    stop: threading.Event = field(default_factory=threading.Event)
    _stage: str = ""
    _total: int = 0
    _first: int = 0
    _done: int = 0
    _since: float = 0.0
    _told: float = 0.0

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """A stage begins at `done`; what is done already says nothing about its speed."""
        self._stage, self._total, self._first, self._done = stage, total, done, done
        self._since = time.monotonic()
        self._tell()

    def reach(self, done: int) -> None:
        """The stage has come to `done`.

        Raises:
            Interrupted: If somebody asked to stop.
        """
        self._done = done
        if self.stop.is_set():
            raise Interrupted("stopped while fitting; run the same command again to resume")
        if done >= self._total or time.monotonic() - self._told > _EVERY_S:
            self._tell()

    def advance(self, count: int) -> None:
        """The stage has come further by `count`; see `reach`."""
        self.reach(self._done + count)

    def _tell(self) -> None:
        self._told = time.monotonic()
        made = self._done - self._first
        left = None
        if made > 0:
            left = (self._told - self._since) / made * max(self._total - self._done, 0)
        self.on_progress(self._stage, self._done, self._total, left)
