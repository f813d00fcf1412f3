"""Fitting pixels scattered over workers: a `Pool` that outlives them.

What the parts were told is kept. A part whose worker died is told all of it again by another one,
which gives it the same pixels, and the fit goes on as if nothing had happened. Nothing here knows
what a worker is.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch

from factory.errors import FactoryError
from factory.fit.pixels.part import Part
from factory.fit.pixels.pool import OnCompleted
from factory.fit.pixels.sampling import NUM_PARTS
from factory.generate.base import GeneratorFacts
from factory.log import log_event
from factory.run.base import WorkOrder
from factory.run.remote_errors import Attempt
from factory.run.worker import configure_process, device_of, load_ordered

Call = tuple[str, tuple[object, ...]]
"""Name of a method of `Part`, and its arguments."""

_MAX_DEATHS = 8


class WorkerDied(Exception):  # noqa: N818 - an answer, never raised
    """Why a call has no answer: whoever was asked is gone."""


class FitWorker:
    """A worker's process: it loads the generator once and answers for the parts it was given."""

    def __init__(self, order: WorkOrder) -> None:
        """Get ready, as for making shards. What goes wrong is told by the first call."""
        configure_process()
        self._dataset, self._device = order.dataset, device_of(order.run)
        self._generator = Attempt(partial(load_ordered, order, self._device))
        self._parts: dict[int, Part] = {}

    def facts(self) -> GeneratorFacts:
        """Of the generator.

        Raises:
            FactoryError: If it could not be loaded here.
        """
        return self._generator.get().facts

    def answer(self, index: int, calls: Sequence[Call], *, is_new: bool) -> Any:  # noqa: ANN401
        """The last of the answers of a part, in this process's memory."""
        if is_new:
            generator = self._generator.get()
            self._parts[index] = Part(index, generator, self._dataset, self._device)
        with torch.inference_mode():
            for method, args in calls:
                answer = getattr(self._parts[index], method)(*args)
        return _to_cpu(answer)


@runtime_checkable
class FitWorkers(Protocol):
    """Workers, each with some parts. They and their promises may be anything."""

    facts: GeneratorFacts

    def start(self) -> Any:  # noqa: ANN401
        """One more worker."""

    def call(self, worker: Any, part: int, calls: Sequence[Call], *, is_new: bool) -> Any:  # noqa: ANN401
        """The promise of the last answer to `calls`, made in order to a part, new or not."""

    def completed(self, promises: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
        """Promises that came true within about a second, each with its answer or error."""


class DistributedPool:
    """See `fit.pool.Pool`. Answers are in this process's memory."""

    def __init__(self, group: FitWorkers, workers: Sequence[Any]) -> None:
        """Deal the parts to `workers` in turn."""
        self.facts, self.device = group.facts, torch.device("cpu")
        self._group, self._workers = group, list(workers)
        self._owners = [workers[part % len(workers)] for part in range(NUM_PARTS)]
        self._lost = set(range(NUM_PARTS))
        self._told: list[Call] = []
        self._deaths = 0

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        """See `fit.pool.Pool`."""
        answers = self._call((method, args), completed)
        if method == "sample" and args[-1] == 0:
            self._told.clear()  # it makes a part forget all before
        self._told.append((method, args))
        return answers

    def query(self, method: str, *args: object) -> list[Any]:
        """See `fit.pool.Pool`."""
        return self._call((method, args), None)

    def _call(self, call: Call, completed: OnCompleted | None) -> list[Any]:
        answers: dict[int, Any] = {}
        flying = {self._send(part, call): part for part in range(NUM_PARTS)}
        asked = {promise: self._owners[part] for promise, part in flying.items()}
        while flying:
            for promise, answer in self._group.completed(list(flying)):
                part, worker = flying.pop(promise), asked.pop(promise)
                if isinstance(answer, WorkerDied):
                    self._bury(worker, answer)
                    again = self._send(part, call)
                    flying[again], asked[again] = part, self._owners[part]
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    answers[part] = answer
                    if completed is not None:
                        completed(answer)
        return [answers[part] for part in range(NUM_PARTS)]

    def _send(self, part: int, call: Call) -> Any:  # noqa: ANN401
        is_new = part in self._lost
        self._lost.discard(part)
        calls = [*self._told, call] if is_new else [call]
        return self._group.call(self._owners[part], part, calls, is_new=is_new)

    def _bury(self, worker: Any, death: WorkerDied) -> None:  # noqa: ANN401
        """Give a dead worker's parts to the others, or to a new one if there is none."""
        if worker not in self._workers:
            return  # another of its calls has told us already
        self._deaths += 1
        if self._deaths > _MAX_DEATHS:
            raise FactoryError(
                f"{self._deaths} workers died while fitting ({death}); look at memory use and at "
                "Ray's logs, or lower fit.memory_gib, then run the command again"
            )
        log_event("worker_died", level=logging.WARNING, reason=str(death), stage="fitting")
        self._workers.remove(worker)
        if not self._workers:
            self._workers.append(self._group.start())
        for part, owner in enumerate(self._owners):
            if owner is worker:
                self._owners[part] = self._workers[part % len(self._workers)]
                self._lost.add(part)


def _to_cpu(answer: Any) -> Any:  # noqa: ANN401
    """The same answer without anything on a GPU."""
    if isinstance(answer, torch.Tensor):
        return answer.cpu()
    return tuple(map(_to_cpu, answer)) if isinstance(answer, tuple) else answer
