"""How fast a dataset grows, and which workers make it, as the receipts of its shards tell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nlargest

from factory.manifest.records import ShardRecord

_RATE_OVER = 24
_IDLE_AFTER_S = 60.0
_SHARDS_WAITED_FOR = 3


def pairs_per_s(records: Sequence[ShardRecord], now: datetime | None = None) -> float:
    """Samples per second over the latest commits; 0 if nothing has been committed for too long.

    Too long is a minute, or three times what the slowest of the latest shards took: on a large
    generator a shard takes minutes, and a run that waits for the next one has not stopped.

    Args:
        records: Receipts of the committed shards, in any order.
        now: The time to judge by. None = now.
    """
    # Of equal times the later ones in the list, as after sorting it.
    numbered = nlargest(
        _RATE_OVER, enumerate(records), key=lambda pair: (pair[1].finished_at, pair[0])
    )
    latest = [record for _, record in numbered[::-1]]
    if len(latest) < 2:
        return 0.0
    first, last = (time_of(record) for record in (latest[0], latest[-1]))
    patience = max(_IDLE_AFTER_S, _SHARDS_WAITED_FOR * max(record.wall_s for record in latest))
    if ((now or datetime.now(UTC)) - last).total_seconds() > patience:
        return 0.0
    seconds = max(1.0, (last - first).total_seconds())  # receipts tell whole seconds
    return sum(record.num_samples for record in latest[1:]) / seconds


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What one worker has made."""

    worker: str
    """Host and process."""
    device: str
    """What it computed on."""
    shards: int
    """Shards that it committed."""
    samples: int
    """Samples in them."""
    pairs_per_s: float
    """Samples per second of its own time; 0 if that is unknown."""
    last_commit: str
    """UTC time of its latest commit, ISO 8601."""


def find_workers(records: Iterable[ShardRecord]) -> list[WorkerFacts]:
    """The workers that made `records`; those that committed last come first."""
    by_worker: dict[str, list[ShardRecord]] = {}
    for record in records:
        by_worker.setdefault(record.worker, []).append(record)
    found = [_worker(name, theirs) for name, theirs in by_worker.items()]
    return sorted(sorted(found, key=lambda one: one.worker), key=_last_commit, reverse=True)


def _last_commit(worker: WorkerFacts) -> str:
    return worker.last_commit


def _worker(name: str, records: Sequence[ShardRecord]) -> WorkerFacts:
    latest = max(records, key=lambda record: record.finished_at)
    samples, seconds = (
        sum(getattr(record, fact) for record in records) for fact in ("num_samples", "wall_s")
    )
    return WorkerFacts(
        worker=name,
        device=latest.device,
        shards=len(records),
        samples=samples,
        pairs_per_s=round(samples / seconds, 2) if seconds else 0.0,
        last_commit=latest.finished_at,
    )


def time_of(record: ShardRecord) -> datetime:
    """When a shard was committed. A receipt of unknown origin may state a time without a zone."""
    found = datetime.fromisoformat(record.finished_at)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
