"""The standard streams of a command: closed ones are opened on nothing, full ones told in one line."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from factory.errors import StoreError

_NAMES = ("stdin", "stdout", "stderr")


def open_closed_streams() -> None:
    """Open the streams that whoever started this process has closed, so that what is written is lost.

    Left closed, their numbers would be those of the next files that are opened: a library that writes a
    message to number 2 would write it into a shard.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


@contextmanager
def printing(*, err: bool) -> Iterator[None]:
    """Context manager: a standard output that takes no more is a `StoreError`.

    A standard error that takes no more is passed over: there is nowhere left to tell of it.

    Raises:
        StoreError: If standard output is on a full disk, say. A pipe that nobody reads is not meant.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        stream = sys.stderr if err else sys.stdout
        # What is still buffered would be written, and fail, once more when Python ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if not err:
            raise StoreError(
                where="standard output",
                found=os.strerror(error.errno or errno.EIO).lower(),
                remedy="free some space, or send the output elsewhere",
            ) from error
