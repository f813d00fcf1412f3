"""Fitting pixels distributed over workers: a pixel pool that survives their deaths.

All updates of the parts are recorded. A part whose worker died is rebuilt on another worker by
replaying them, which gives the same pixels, and the fit continues. Nothing here depends on Ray.
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
from factory.run.base import WorkerConfig
from factory.run.remote_errors import BuildResult
from factory.run.worker import claim_device, configure_process, load_configured_generator

Call = tuple[str, tuple[object, ...]]
"""Name of a method of `Part`, and its arguments."""

_MAX_DEATHS = 8


class WorkerDied(Exception):  # noqa: N818 - returned as a result, never raised
    """The result of a call whose worker died before answering."""


class FitWorker:
    """A worker's process: loads the generator once, and holds the parts assigned to it."""

    def __init__(self, config: WorkerConfig) -> None:
        """Load the generator. An error is raised by the first call."""
        configure_process()
        self._dataset, self._device = config.dataset, claim_device(config.run)
        self._generator = BuildResult(partial(load_configured_generator, config, self._device))
        self._parts: dict[int, Part] = {}

    def facts(self) -> GeneratorFacts:
        """The generator's capabilities.

        Raises:
            FactoryError: If it could not be loaded here.
        """
        return self._generator.get().facts

    def answer(self, index: int, calls: Sequence[Call], *, is_new: bool) -> Any:  # noqa: ANN401
        """Call methods of a part in order; returns the result of the last call, in host memory."""
        if is_new:
            generator = self._generator.get()
            self._parts[index] = Part(index, generator, self._dataset, self._device)
        with torch.inference_mode():
            for method, args in calls:
                answer = getattr(self._parts[index], method)(*args)
        return _to_cpu(answer)


@runtime_checkable
class FitWorkers(Protocol):
    """Workers that hold parts. Handles of workers and futures may be of any type."""

    facts: GeneratorFacts

    def start(self) -> Any:  # noqa: ANN401
        """Start one more worker."""

    def call(self, worker: Any, part: int, calls: Sequence[Call], *, is_new: bool) -> Any:  # noqa: ANN401
        """Call methods of a part, creating it if `is_new`; a future of the last result."""

    def completed(self, futures: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
        """Wait about a second: futures that completed, each with its result or error."""


class DistributedPixelPool:
    """A pixel pool on several workers; see `fit.pixels.pool`. Results are in this process's memory."""

    def __init__(self, group: FitWorkers, workers: Sequence[Any]) -> None:
        """Assign the parts to `workers` round-robin."""
        self.facts, self.device = group.facts, torch.device("cpu")
        self._group, self._workers = group, list(workers)
        self._owners = [workers[part % len(workers)] for part in range(NUM_PARTS)]
        self._lost = set(range(NUM_PARTS))
        self._history: list[Call] = []
        self._deaths = 0

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        """Call a method that changes the parts; see `fit.pixels.pool`."""
        answers = self._call((method, args), completed)
        # The history of a rebuilt part ends where sampling starts over: that call discards all
        # earlier state of a part, so that nothing before it has to be replayed.
        if method == "sample" and args[-1] == 0:
            self._history.clear()
        self._history.append((method, args))
        return answers

    def query(self, method: str, *args: object) -> list[Any]:
        """Call a method that changes nothing; see `fit.pixels.pool`."""
        return self._call((method, args), None)

    def _call(self, call: Call, completed: OnCompleted | None) -> list[Any]:
        answers: dict[int, Any] = {}
        in_flight = {self._send(part, call): part for part in range(NUM_PARTS)}
        asked = {future: self._owners[part] for future, part in in_flight.items()}
        while in_flight:
            for future, answer in self._group.completed(list(in_flight)):
                part, worker = in_flight.pop(future), asked.pop(future)
                if isinstance(answer, WorkerDied):
                    self._handle_death(worker, answer)
                    again = self._send(part, call)
                    in_flight[again], asked[again] = part, self._owners[part]
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    answers[part] = answer
                    if completed is not None:
                        completed(answer)
        # In the order of the parts, not of completion: sums over parts must not depend on timing.
        return [answers[part] for part in range(NUM_PARTS)]

    def _send(self, part: int, call: Call) -> Any:  # noqa: ANN401
        is_new = part in self._lost
        self._lost.discard(part)
        calls = [*self._history, call] if is_new else [call]
        return self._group.call(self._owners[part], part, calls, is_new=is_new)

    def _handle_death(self, worker: Any, death: WorkerDied) -> None:  # noqa: ANN401
        """Reassign a dead worker's parts to the others, or to a new one if none is left."""
        if worker not in self._workers:
            return  # already handled for another of its calls
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
    """Move the tensors of an answer to host memory."""
    if isinstance(answer, torch.Tensor):
        return answer.cpu()
    return tuple(map(_to_cpu, answer)) if isinstance(answer, tuple) else answer
