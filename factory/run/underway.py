"""Ask workers elsewhere, without ever waiting, how many samples of unfinished shards they have."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from factory.run.base import Observer, SampleObserver

Poll = Callable[[list[Any]], Iterable[tuple[Any, int]]]
"""Those of some calls that have an answer, each with it; 0 from a worker that has died."""


class AskedWorkers:
    """Asks each worker again when it has answered, and tells the observer what all have said."""

    def __init__(self, observer: Observer, poll: Poll) -> None:
        """Ask nothing unless `observer` wants to be told."""
        self._observer = observer if isinstance(observer, SampleObserver) else None
        self._poll = poll
        self._asked: dict[Any, int] = {}
        self._answers: dict[int, int] = {}

    def ask(self, workers: Mapping[int, Callable[[], Any]]) -> None:
        """Take what was answered since the last call, and ask `workers`, which are all there are."""
        if self._observer is None:
            return
        for call, count in self._poll(list(self._asked)) if self._asked else ():
            self._answers[self._asked.pop(call)] = count
        waiting = set(self._asked.values())
        self._asked |= {call(): name for name, call in workers.items() if name not in waiting}
        self._answers = {name: count for name, count in self._answers.items() if name in workers}
        self._observer.underway(sum(self._answers.values()))
