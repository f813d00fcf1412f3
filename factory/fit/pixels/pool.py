"""All parts of the fitting pixels, wherever they are, asked at once and answered in order."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from factory.fit.pixels.part import Part
from factory.fit.pixels.sampling import NUM_PARTS
from factory.generate.base import Generator, GeneratorFacts
from factory.spec import DatasetSpec

OnCompleted = Callable[[Any], None]
"""Is given each part's answer as it comes, in any order."""


@runtime_checkable
class Pool(Protocol):
    """The parts. A method's name and arguments are those of `Part`."""

    facts: GeneratorFacts
    """Of the generator that pixels are sampled from."""
    device: torch.device
    """Where answers are."""

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        """Call a method that changes what the parts know; the answers in the order of the parts."""

    def query(self, method: str, *args: object) -> list[Any]:
        """Call a method that changes nothing; the answers in the order of the parts."""


class LanePool:
    """Parts in this process, several at a time on a thread each. See `Pool`."""

    def __init__(
        self, generator: Generator, dataset: DatasetSpec, device: torch.device, num_lanes: int
    ) -> None:
        """Parts without pixels. A GPU has one lane, for it is busy with one part already."""
        self.facts, self.device, self.generator = generator.facts, device, generator
        self.parts = [Part(index, generator, dataset, device) for index in range(NUM_PARTS)]
        lanes = 1 if device.type == "cuda" else num_lanes
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="fit")

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        """See `Pool`."""
        futures = [self._threads.submit(_call, part, method, args) for part in self.parts]
        try:
            for future in as_completed(futures):
                answer = future.result()
                if completed is not None:
                    completed(answer)
        finally:
            for future in futures:
                future.cancel()
        return [future.result() for future in futures]

    def query(self, method: str, *args: object) -> list[Any]:
        """See `Pool`."""
        return self.update(method, *args)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(cancel_futures=True)


def added(answers: list[Any]) -> list[Tensor]:
    """Sums over all parts of each thing they answered with, in the order of the parts.

    Floating-point numbers are added in double precision.
    """
    wide = [torch.float64 if t.is_floating_point() else t.dtype for t in answers[0]]
    totals = [t.to(dtype, copy=True) for t, dtype in zip(answers[0], wide, strict=True)]
    for answer in answers[1:]:
        for total, tensor in zip(totals, answer, strict=True):
            total.add_(tensor)
    return totals


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute every operation on one thread: their number would change the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _call(part: Part, method: str, args: tuple[object, ...]) -> object:
    with torch.inference_mode():  # a thread has a mode of its own
        return getattr(part, method)(*args)
