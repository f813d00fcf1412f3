"""All parts of the fitting pixels: called concurrently, with results in the order of the parts."""

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
"""Callback for each part's result as it arrives, in any order."""


@runtime_checkable
class PixelPool(Protocol):
    """The parts. A method's name and arguments are those of `Part`."""

    facts: GeneratorFacts
    """Of the generator that pixels are sampled from."""
    device: torch.device
    """Where answers are."""

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        """Call a method that changes the parts; returns the results in the order of the parts."""

    def query(self, method: str, *args: object) -> list[Any]:
        """Call a method that changes nothing; returns the results in the order of the parts."""


class ThreadedPixelPool:
    """Parts in this process, several at a time on a thread each. See `PixelPool`."""

    def __init__(
        self, generator: Generator, dataset: DatasetSpec, device: torch.device, num_fit_threads: int
    ) -> None:
        """Create empty parts. A GPU gets one thread: one part keeps it busy."""
        self.facts, self.device, self.generator = generator.facts, device, generator
        self.parts = [Part(index, generator, dataset, device) for index in range(NUM_PARTS)]
        lanes = 1 if device.type == "cuda" else num_fit_threads
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="fit")

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        """See `PixelPool`."""
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
        """See `PixelPool`."""
        return self.update(method, *args)

    def close(self) -> None:
        """Shut the threads down."""
        self._threads.shutdown(cancel_futures=True)


def added(answers: list[Any]) -> list[Tensor]:
    """Sum each result over all parts, in the order of the parts.

    The order is fixed because floating-point addition is not associative: with it, threads and workers
    give the same file. In float64, because sums over millions of pixels lose digits in float32.
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
