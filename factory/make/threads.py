"""The threads that make shards: how many there are, and the case of one for everything."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class ThreadCounts:
    """Numbers of threads of a maker. They never change a byte."""

    compute: int
    """Batches computed concurrently."""
    encode: int
    """Samples encoded concurrently by threads of their own; 0 = compute threads encode their batches."""

    @property
    def are_one(self) -> bool:
        """Whether one thread computes and encodes."""
        return self.compute == 1 and self.encode == 0


class ThisThread(Executor):
    """Runs what it is given at once, in the thread that gives it."""

    def submit(
        self,
        fn: Callable[_Arguments, _Value],
        /,
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> Future[_Value]:
        """Call `fn`; its result or exception is there when this returns."""
        done: Future[_Value] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as every executor, raised by `result`
            done.set_exception(error)
        return done


def pool(num_threads: int, name: str) -> ThreadPoolExecutor:
    """Threads of a stage, whose names begin with `name`."""
    return ThreadPoolExecutor(num_threads, name)
