"""The driver's loop, the same for every executor: hand out tasks, gather records, try again.

It does not know who makes the shards: a `Fleet` does.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from factory.data import ShardTask
from factory.errors import Interrupted
from factory.manifest import ShardRecord
from factory.run.base import MOST_ATTEMPTS, MoreTasks, Observer, Outcome, no_more
from factory.run.retry import HOPELESS, may_pass

Waiting = deque[tuple[ShardTask, int]]
"""Tasks to hand out, each with the number of its attempt, from 1."""


@runtime_checkable
class Fleet(Protocol):
    """Workers with a bounded number of calls in flight."""

    def fill(self, waiting: Waiting) -> None:
        """Take tasks from `waiting` until every worker has enough."""

    def landed(self) -> Iterable[tuple[ShardTask, int, ShardRecord | BaseException]]:
        """Calls that ended within about a second: task, attempt, and its record or error."""


def drive(
    tasks: Sequence[ShardTask],
    fleet: Fleet,
    observer: Observer,
    stop: threading.Event,
    more: MoreTasks = no_more,
) -> Outcome:
    """Run every task to a record or to its last failure, round by round; see `base.Executor`."""
    outcome = Outcome()
    while tasks:
        _drive_round(tasks, fleet, observer, stop, outcome)
        tasks = () if outcome.failures else more()
    return outcome


def _drive_round(
    tasks: Sequence[ShardTask],
    fleet: Fleet,
    observer: Observer,
    stop: threading.Event,
    outcome: Outcome,
) -> None:
    waiting: Waiting = deque((task, 1) for task in tasks)
    num_left = len(tasks)
    while num_left:
        if stop.is_set():
            raise Interrupted(
                f"stopped with {num_left} shards to make; run the same command again to resume"
            )
        fleet.fill(waiting)
        for task, attempt, result in fleet.landed():
            if isinstance(result, ShardRecord):
                num_left -= 1
                outcome.records.append(result)
                observer.committed(result)
            elif isinstance(result, Interrupted):
                break  # the loop's head says how many are left
            elif isinstance(result, HOPELESS):
                raise result
            elif may_pass(result) and attempt < MOST_ATTEMPTS:
                observer.failed(task, describe(result), again=True)
                waiting.append((task, attempt + 1))
            else:
                num_left -= 1
                observer.failed(task, describe(result), again=False)
                outcome.failures[task.name] = describe(result)


def describe(error: BaseException) -> str:
    """One line for an error of any kind."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"
