"""Response types about how a dataset was made: its pace, its job, and what failed."""

from factory.manifest.labels import Facts
from factory.serve.answers import ShardState
from factory.serve.queries import PaceOf


class PaceInterval(Facts):
    """What was made in an interval; a shard counts evenly for the time in which it was made."""

    starts_at: str
    """UTC, ISO 8601."""
    seconds: float
    """Its length; the first and the last one are cut where the making began and ended."""
    samples: float
    """Committed samples."""
    rejected: float
    """Generated images that were not kept."""
    worker_s: float
    """Seconds that workers spent on shards."""
    generate_s: float
    """Seconds of these in the generator and the segmenter; the rest is packing and writing."""
    by_worker: list[float]
    """Samples of each of `workers`."""


class WorkerPace(Facts):
    """What a worker made."""

    worker: str
    """Host and process; `N others` for all those that made fewer samples."""
    device: str
    shards: int
    samples: int
    pairs_per_s: float
    """Samples per second of its own time; 0 if that is unknown."""
    last_commit: str
    """UTC, ISO 8601."""


class PaceAnswer(Facts):
    """How the making went over time."""

    of: PaceOf
    interval_s: int
    """Length of an interval; chosen so that there are at most 96."""
    started_at: str
    """UTC, ISO 8601; `never` without a shard."""
    ended_at: str
    """UTC, ISO 8601; `never` without a shard."""
    intervals: list[PaceInterval]
    """In order of time; those in which nothing was made are left out."""
    workers: list[WorkerPace]
    """At most 16; those that made most come first."""


class JobAnswer(Facts):
    """The job that the dataset was started with."""

    text: str
    """`job.yaml` as it is stored, without credentials; empty if there is none."""
    is_cut: bool
    """Whether the file is longer than what is shown."""


class AttemptAnswer(Facts):
    """A failed attempt at a shard, or the shard's entry in quarantine."""

    shard_index: int
    state: ShardState
    """State of the shard now: one that failed may have been committed later."""
    is_quarantine: bool
    """Whether this is the entry that keeps the shard from being tried again."""
    attempt: int
    """Number of the attempt, from 1; 0 = the file cannot be read."""
    reason: str
    """The error, in one line."""
    run_id: str
    failed_at: str
    """UTC, ISO 8601."""


class Failures(Facts):
    """A page of failures: quarantine first, then attempts, in the order of shards."""

    total: int
    """Number of entries."""
    failures: list[AttemptAnswer]
