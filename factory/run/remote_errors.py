"""Transport of errors from workers to the driver. It does not depend on Ray."""

from collections.abc import Callable
from typing import Generic, TypeVar

from factory.errors import FactoryError
from factory.run.drive import describe

_T = TypeVar("_T")


class BuildResult(Generic[_T]):
    """The value that a worker builds when it starts, or the error that building it raised.

    An actor whose constructor raises is dead, and Ray passes on only the text of its error. The
    exception of a call arrives as the original object, so a worker raises its constructor's error
    when called.
    """

    def __init__(self, build: Callable[[], _T]) -> None:
        """Call `build`; an exception is stored."""
        self._error: Exception | None = None
        try:
            self._value = build()
        except Exception as error:  # noqa: BLE001 - the driver must learn of any error
            self._error = error

    def get(self) -> _T:
        """Return the value.

        Raises:
            Exception: The stored exception.
        """
        if self._error is not None:
            raise self._error
        return self._value


def start_error(error: BaseException) -> FactoryError:
    """The error that ends a run whose worker could not be built because of `error`."""
    if isinstance(error, FactoryError):
        return error
    return FactoryError(
        where="run",
        found=f"a worker could not start ({describe(error)})",
        remedy="mend the cause, then run the job again",
    )


def was_told_to_go(error: BaseException) -> bool:
    """Whether a process got SIGTERM, as a draining node sends it to its workers.

    This is the only place that reads words of Ray. An actor's death has a class, and a field for nodes
    that an autoscaler takes away; that its process got SIGTERM stands in its message alone (seen with
    Ray 2.60; a test asks the Ray that is installed), and not in every one: the process may be gone
    before it has reported. Such a death counts as a failed attempt, which is safe.
    """
    return "SIGTERM" in str(error)
