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


@dataclass(frozen=True, slots=True)
class Pools:
    """The threads of a maker's stages; None where another stage's do the work."""

    compute: Executor
    encode: ThreadPoolExecutor | None
    copy: ThreadPoolExecutor | None
    """Waits for copies from a GPU."""
    pack: ThreadPoolExecutor | None
    num_ahead: int
    """Batches that are computed ahead of the one that is taken."""


def open_pools(threads: ThreadCounts, *, is_gpu: bool) -> Pools:
    """The pools for so many threads; on a CPU, one for everything is the thread of the caller.

    A hand-over takes longer there than packing what would be handed over.
    """
    is_alone = threads.are_one and not is_gpu
    return Pools(
        compute=ThisThread() if is_alone else ThreadPoolExecutor(threads.compute, "compute"),
        encode=ThreadPoolExecutor(threads.encode, "encode") if threads.encode else None,
        copy=ThreadPoolExecutor(1, "copy") if is_gpu else None,
        pack=None if is_alone else ThreadPoolExecutor(2, "pack"),
        num_ahead=0 if is_alone else threads.compute,
    )
