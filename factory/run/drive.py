"""The driver's loop, shared by all executors: assign tasks, collect records, retry failures.

It does not know how shards are made: that is the `Fleet`'s part.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.errors import FactoryError, Interrupted
from factory.manifest.records import ShardRecord
from factory.redact import shown
from factory.run.base import MoreTasks, Observer, Outcome, no_more
from factory.run.retry import FATAL, counts_as_attempt, is_last_attempt

Waiting = deque[tuple[ShardTask, int]]
"""Tasks to assign, each with its number of failed attempts."""


@runtime_checkable
class Fleet(Protocol):
    """Workers with a bounded number of calls in flight."""

    def fill(self, waiting: Waiting) -> None:
        """Take tasks from `waiting` until every worker is busy."""

    def completed(self) -> Iterable[tuple[ShardTask, ShardRecord | BaseException]]:
        """Wait about a second for calls to complete: pairs of a task and its record or error."""


def drive(
    tasks: Sequence[ShardTask],
    fleet: Fleet,
    observer: Observer,
    stop: threading.Event,
    attempts: Attempts,
    more: MoreTasks = no_more,
) -> Outcome:
    """Run all tasks to a record or a permanent failure, round by round; see `base.Executor`."""
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
    # Counts include earlier runs: a shard that killed its worker yesterday is still made alone
    # today.
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
                break  # reported at the top of the loop, with the number of shards left
            elif isinstance(result, FATAL):
                raise result
            elif _record_failure(task, result, attempts, observer):
                num_left -= 1
                outcome.failures[task.name] = describe(result)
            else:
                waiting.append((task, attempts.num_failed(task)))


def _record_failure(
    task: ShardTask, error: BaseException, attempts: Attempts, observer: Observer
) -> bool:
    """Record a failed attempt; returns whether it was the last one, which quarantines the shard."""
    reason = describe(error)
    num_failed = attempts.note(task, reason) if counts_as_attempt(error) else 0
    is_over = is_last_attempt(error, num_failed)
    observer.failed(task, reason, again=not is_over)
    if is_over:
        attempts.give_up(task, reason)
    return is_over


def describe(error: BaseException) -> str:
    """One line for an error of any kind; errors of ours are sentences, others need their type."""
    lines = shown(error).strip().splitlines()
    text = lines[-1] if lines else "no message"
    return text if isinstance(error, FactoryError) else f"{type(error).__name__}: {text}"
