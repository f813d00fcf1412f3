"""What may be tried again: decided by the type of the error, in this one place."""

from factory.errors import (
    FactoryError,
    Interrupted,
    JobError,
    PluginError,
    RetryableError,
    ShardError,
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
    return not isinstance(error, (ShardError, FactoryError))
