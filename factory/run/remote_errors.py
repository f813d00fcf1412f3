"""What went wrong on a worker, and how the driver is told. It does not know Ray."""

from collections.abc import Callable
from typing import Generic, TypeVar

from factory.errors import FactoryError
from factory.run.drive import describe

_T = TypeVar("_T")


class Attempt(Generic[_T]):
    """What a worker builds when it starts, or the error that it could not be built for.

    An actor whose constructor raises is dead, and Ray hands on nothing but the text of its error. The
    error of a call arrives as what it is, so a worker raises its constructor's when it is called.
    """

    def __init__(self, build: Callable[[], _T]) -> None:
        """Build it now; an error is kept."""
        self._error: Exception | None = None
        try:
            self._value = build()
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must be told
            self._error = error

    def get(self) -> _T:
        """What was built.

        Raises:
            Exception: The error that was kept.
        """
        if self._error is not None:
            raise self._error
        return self._value


def start_error(error: BaseException) -> FactoryError:
    """Why no worker can start, of which one raised `error` while it was built."""
    if isinstance(error, FactoryError):
        return error
    return FactoryError(
        where="run",
        found=f"a worker could not start ({describe(error)})",
        remedy="mend the cause, then run the job again",
    )


# Ray has no field for what ended a process. These two are the only ones that read its words, and
# only to explain a death or to forgive it: where the words change, a death counts, which is safe.


def reason_of_death(error: BaseException) -> str:
    """Why an actor is gone, as far as Ray knows: it cannot tell a kill from a lack of memory."""
    if "SIGKILL" in str(error) or "OOM" in str(error):
        return "killed, or out of memory"
    return type(error).__name__


def was_told_to_go(error: BaseException) -> bool:
    """Whether a process was ended in an orderly way, as a node that leaves does with its workers."""
    return "SIGTERM" in str(error)
