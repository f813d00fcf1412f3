"""The error tree. Each class carries the exit code that the command line returns for it.

    FactoryError 1
    ├── JobError 2           the job file, or a setting in it, is wrong
    │   └── WeightsError 2   the generator's weights are missing, changed or unreadable
    ├── PluginError 3        a generator, segmenter or executor is unknown or cannot be used here
    ├── ShardError 4         one shard could not be made
    │   └── RetryableError 4 ... for a reason that may pass: another worker may try again
    │       └── PreemptedError 4 ... and that says nothing about the shard: it does not count
    ├── IncompleteError 5    the run ended with shards missing
    ├── StoreError 6         the output cannot be read or written, or belongs to another dataset
    │   └── UnreachableError 6   ... because its server does not answer or does not let us in
    ├── DamageError 7        `verify` found bytes that are not what the receipts say
    └── Interrupted 75       stopped by a signal; running the same command again resumes

Messages say where, what was found, what is allowed and what to do. They are one string, so that an
error crosses a process boundary unchanged.
"""


class FactoryError(Exception):
    """A deliberate error: it is shown as one message, without a traceback."""

    exit_code = 1


class JobError(FactoryError):
    """The job file, or a setting in it, is wrong."""

    exit_code = 2


class WeightsError(JobError):
    """The generator's weights are missing, changed or unreadable."""


class PluginError(FactoryError):
    """A generator, segmenter or executor is unknown, or cannot be used here."""

    exit_code = 3


class ShardError(FactoryError):
    """One shard could not be made."""

    exit_code = 4


class RetryableError(ShardError):
    """A shard could not be made for a reason that may pass, such as a dead worker."""


class PreemptedError(RetryableError):
    """A shard was dropped for a reason outside it, such as a node that left; it does not count."""


class IncompleteError(FactoryError):
    """The run ended with shards missing. A partial success is a failure."""

    exit_code = 5


class StoreError(FactoryError):
    """The output cannot be read or written, or belongs to another dataset."""

    exit_code = 6


class UnreachableError(StoreError):
    """The output's server does not answer, or does not let us in."""


class DamageError(FactoryError):
    """`verify` found bytes that are not what the receipts say."""

    exit_code = 7


class Interrupted(FactoryError):  # noqa: N818 - a stop that was asked for is not an error
    """Stopped by a signal. What is committed stays; running the same command again resumes."""

    exit_code = 75
