"""The retry policy: decided by the type of the error, in this one place."""

from factory.dataset.quarantine import MOST_ATTEMPTS, MOST_DEATHS
from factory.errors import (
    FactoryError,
    Interrupted,
    JobError,
    PluginError,
    PreemptedError,
    RetryableError,
    StoreError,
)

FATAL = (JobError, PluginError, StoreError, Interrupted)
"""Errors that concern the whole run: stop at once, no shard can be made."""


def is_transient(error: BaseException) -> bool:
    """Whether another attempt at the same shard may succeed.

    `RetryableError` is transient by definition. Other deliberate errors will repeat, since a shard
    is a pure function of its task. Anything else is a bug or a broken machine, and another worker
    may succeed.
    """
    if isinstance(error, RetryableError):
        return True
    return not isinstance(error, FactoryError)


def counts_as_attempt(error: BaseException) -> bool:
    """Whether the failure may be caused by the shard itself; a preempted node's is not."""
    return not isinstance(error, PreemptedError)


def is_last_attempt(error: BaseException, num_failed: int) -> bool:
    """Whether a shard that has failed `num_failed` times, now with `error`, is quarantined.

    The death of a worker is retried more often than an error: its cause may lie outside, such as
    another process that used up the memory.
    """
    most = MOST_DEATHS if isinstance(error, RetryableError) else MOST_ATTEMPTS
    return not is_transient(error) or num_failed >= most
