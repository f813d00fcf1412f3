"""What may be tried again: decided by the type of the error, in this one place."""

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

HOPELESS = (JobError, PluginError, StoreError, Interrupted)
"""No shard of this run can be made: stop at once."""


def may_pass(error: BaseException) -> bool:
    """Whether another attempt at the same shard may succeed.

    Retryable errors may. Deliberate ones will repeat, since a shard is a pure function of its task.
    Anything else is a bug or a broken machine, and another worker may fare better.
    """
    if isinstance(error, RetryableError):
        return True
    return not isinstance(error, FactoryError)


def counts(error: BaseException) -> bool:
    """Whether the failure may be the shard's own doing."""
    return not isinstance(error, PreemptedError)


def is_last(error: BaseException, num_failed: int) -> bool:
    """Whether a shard that has failed `num_failed` times, now with `error`, is given up.

    A worker's death is forgiven more often than an error: somebody else may have killed it.
    """
    most = MOST_DEATHS if isinstance(error, RetryableError) else MOST_ATTEMPTS
    return not may_pass(error) or num_failed >= most
