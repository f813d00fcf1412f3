"""Run shards in this process: the same maker as on a cluster, without Ray."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from factory.data import ShardTask
from factory.errors import Interrupted
from factory.manifest import ShardRecord
from factory.run.base import MOST_ATTEMPTS, Observer, Outcome, WorkOrder
from factory.run.retry import HOPELESS, may_pass
from factory.run.worker import build_maker, settle_process

_WINDOW = 2
"""Calls in flight: one computes while the other still packs."""


def run_inline(
    tasks: Sequence[ShardTask], order: WorkOrder, observer: Observer, stop: threading.Event
) -> Outcome:
    """Make every task's shard here; see `base.Executor`."""
    settle_process()
    maker = build_maker(order)
    maker.stop = stop
    waiting = deque((task, 1) for task in tasks)
    flying: dict[Future[ShardRecord], tuple[ShardTask, int]] = {}
    outcome = Outcome()
    with ThreadPoolExecutor(_WINDOW, "shard") as pool:
        try:
            while waiting or flying:
                if stop.is_set():
                    raise Interrupted(f"stopped with {len(waiting) + len(flying)} shards to make")
                while waiting and len(flying) < _WINDOW:
                    task, attempt = waiting.popleft()
                    flying[pool.submit(maker.make, task)] = (task, attempt)
                for future in wait(flying, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    task, attempt = flying.pop(future)
                    error = future.exception()
                    if error is None:
                        outcome.records.append(future.result())
                        observer.committed(future.result())
                        continue
                    if isinstance(error, HOPELESS):
                        raise error
                    again = may_pass(error) and attempt < MOST_ATTEMPTS
                    observer.failed(task, describe(error), again=again)
                    if again:
                        waiting.append((task, attempt + 1))
                    else:
                        outcome.failures[task.name] = describe(error)
        except BaseException:
            stop.set()  # the other call must not keep the process
            raise
    return outcome


def describe(error: BaseException) -> str:
    """One line for an error of any kind."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"
