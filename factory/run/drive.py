"""The driver's loop, the same for every executor: hand out tasks, gather records, try again.

It does not know who makes the shards: a `Fleet` does.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.errors import Interrupted
from factory.manifest.records import ShardRecord
from factory.redact import shown
from factory.run.base import MoreTasks, Observer, Outcome, no_more
from factory.run.retry import HOPELESS, counts, is_last

Waiting = deque[tuple[ShardTask, int]]
"""Tasks to hand out, each with the number of times it has failed."""


@runtime_checkable
class Fleet(Protocol):
    """Workers with a bounded number of calls in flight."""

    def fill(self, waiting: Waiting) -> None:
        """Take tasks from `waiting` until every worker has enough."""

    def completed(self) -> Iterable[tuple[ShardTask, ShardRecord | BaseException]]:
        """Calls that ended within about a second: the task, and its record or error."""


def drive(
    tasks: Sequence[ShardTask],
    fleet: Fleet,
    observer: Observer,
    stop: threading.Event,
    attempts: Attempts,
    more: MoreTasks = no_more,
) -> Outcome:
    """Run every task to a record or to its last failure, round by round; see `base.Executor`."""
    outcome = Outcome()
    while tasks:
        _drive_round(tasks, fleet, observer, stop, attempts, outcome)
        tasks = more()
    return outcome


def _drive_round(
    tasks: Sequence[ShardTask],
    fleet: Fleet,
    observer: Observer,
    stop: threading.Event,
    attempts: Attempts,
    outcome: Outcome,
) -> None:
    waiting: Waiting = deque((task, attempts.num_failed(task)) for task in tasks)
    num_left = len(tasks)
    while num_left:
        if stop.is_set():
            raise Interrupted(
                f"stopped with {num_left} shards to make; run the same command again to resume"
            )
        fleet.fill(waiting)
        for task, result in fleet.completed():
            if isinstance(result, ShardRecord):
                num_left -= 1
                observer.committed(result)
            elif isinstance(result, Interrupted):
                break  # the loop's head says how many are left
            elif isinstance(result, HOPELESS):
                raise result
            elif _is_over(task, result, attempts, observer):
                num_left -= 1
                outcome.failures[task.name] = describe(result)
            else:
                waiting.append((task, attempts.num_failed(task)))


def _is_over(task: ShardTask, error: BaseException, attempts: Attempts, observer: Observer) -> bool:
    """Note a failure; whether it was the shard's last, which puts it into quarantine."""
    reason = describe(error)
    num_failed = attempts.note(task, reason) if counts(error) else 0
    is_over = is_last(error, num_failed)
    observer.failed(task, reason, again=not is_over)
    if is_over:
        attempts.give_up(task, reason)
    return is_over


def describe(error: BaseException) -> str:
    """One line for an error of any kind."""
    text = shown(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"
