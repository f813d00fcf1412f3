"""Compute answers about how a dataset was made: its pace, its job, and what failed."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from pydantic import ValidationError

from factory.dataset.pace import WorkerFacts, find_workers
from factory.dataset.pace_series import (
    PaceSeries,
    count_by_worker,
    make_series,
    merge_series,
    select_run,
)
from factory.dataset.quarantine import ShardFailure
from factory.errors import FactoryError
from factory.manifest.paths import ATTEMPTS, JOB_PATH, QUARANTINE, shard_index_of
from factory.manifest.records import ShardRecord
from factory.manifest.versions import read_file_of
from factory.redact import shown
from factory.serve.history_answers import (
    AttemptAnswer,
    Failures,
    JobAnswer,
    PaceAnswer,
    PaceInterval,
    WorkerPace,
)
from factory.serve.queries import FailuresQuery, PaceQuery
from factory.serve.view import Snapshot
from factory.store import Store

_MOST_WORKERS = 16
_MOST_JOB_BYTES = 2**18
_MOST_FAILURE_BYTES = 2**16
_MOST_SHOWN = 2000
_FIRST_S, _LAST_S = (
    datetime(year, 1, 2, tzinfo=UTC).timestamp() for year in (datetime.min.year, datetime.max.year)
)


def describe_pace(snapshot: Snapshot, query: PaceQuery) -> PaceAnswer:
    """Rate, stages and workers over time."""
    records = list(snapshot.records) if query.of == "all_runs" else select_run(snapshot.records)
    named, others = _split_workers(records)
    parts = [make_series(inside) for inside in (*named, others)]
    whole = merge_series(parts)
    parts = [part for part in parts if part.intervals]
    groups = [group for group in (*named, others) if group]
    return PaceAnswer(
        of=query.of,
        interval_s=whole.width_s,
        started_at=_time(whole.start_s) if records else "never",
        ended_at=_time(whole.end_s) if records else "never",
        intervals=_intervals(whole, parts),
        workers=[_worker(group) for group in groups],
    )


def _split_workers(
    records: Sequence[ShardRecord],
) -> tuple[list[list[ShardRecord]], list[ShardRecord]]:
    """The shards of each of the workers that made most, and those of all others."""
    ranked = [name for name, _ in count_by_worker(records).most_common()]
    most = _MOST_WORKERS if len(ranked) <= _MOST_WORKERS else _MOST_WORKERS - 1
    named: dict[str, list[ShardRecord]] = {name: [] for name in ranked[:most]}
    others: list[ShardRecord] = []
    for record in records:
        named.get(record.worker, others).append(record)
    return list(named.values()), others


def _worker(records: Sequence[ShardRecord]) -> WorkerPace:
    """One worker, or all the others together."""
    found = find_workers(records)
    if len(found) == 1:
        return _plain(found[0])
    return WorkerPace(
        worker=f"{len(found)} others",
        device=", ".join(sorted({one.device for one in found})[:_MOST_WORKERS]),
        shards=sum(one.shards for one in found),
        samples=sum(one.samples for one in found),
        pairs_per_s=round(sum(one.pairs_per_s for one in found) / len(found), 2),
        last_commit=max(one.last_commit for one in found),
    )


def _plain(worker: WorkerFacts) -> WorkerPace:
    return WorkerPace(**asdict(worker))


def _intervals(whole: PaceSeries, parts: Sequence[PaceSeries]) -> list[PaceInterval]:
    samples: list[dict[int, float]] = []
    for part in parts:
        counts: dict[int, float] = {}
        for number, amounts in part.intervals.items():
            inside = number * part.width_s // whole.width_s
            counts[inside] = counts.get(inside, 0.0) + amounts.samples
        samples.append(counts)
    return [
        PaceInterval(
            starts_at=_time(max(float(number * whole.width_s), whole.start_s)),
            seconds=round(whole.seconds_of(number), 3),
            by_worker=[round(counts.get(number, 0.0), 3) for counts in samples],
            **{name: round(value, 3) for name, value in asdict(amounts).items()},
        )
        for number, amounts in sorted(whole.intervals.items())
    ]


def _time(seconds: float) -> str:
    seconds = min(max(seconds, _FIRST_S), _LAST_S)
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def describe_job(store: Store) -> JobAnswer:
    """The stored job, as text without credentials; a dataset of unknown origin may hold any text."""
    size = store.size_of(JOB_PATH) or 0
    data = store.read_part(JOB_PATH, 0, min(size, _MOST_JOB_BYTES)) if size else None
    text = shown((data or b"").decode("utf-8", "replace"))
    return JobAnswer(text=text, is_cut=size > _MOST_JOB_BYTES)


def list_failures(store: Store, snapshot: Snapshot, query: FailuresQuery) -> Failures:
    """A page of failed attempts; only the files of this page are read."""
    paths = [
        path
        for folder in (QUARANTINE, ATTEMPTS)
        for path in store.names(folder)
        if shard_index_of(path) >= 0
    ]
    done = {record.shard_index for record in snapshot.records}
    page = paths[query.offset : query.offset + query.limit]
    return Failures(
        total=len(paths), failures=[_failure(store, snapshot, path, done) for path in page]
    )


def _failure(store: Store, snapshot: Snapshot, path: str, done: set[int]) -> AttemptAnswer:
    shard_index = shard_index_of(path)
    found = _read_failure(store, path)
    return AttemptAnswer(
        shard_index=shard_index,
        state=snapshot.state_of(shard_index, done),
        is_quarantine=path.startswith(f"{QUARANTINE}/"),
        attempt=found.attempt if found else 0,
        reason=shown(found.reason[:_MOST_SHOWN]) if found else f"{path} cannot be read",
        run_id=shown(found.run_id[:_MOST_SHOWN]) if found else "",
        failed_at=shown(found.failed_at[:_MOST_SHOWN]) if found else "",
    )


def _read_failure(store: Store, path: str) -> ShardFailure | None:
    """None for a file that is no record of a failure."""
    data = store.read_part(path, 0, _MOST_FAILURE_BYTES) or b""
    try:
        return read_file_of(ShardFailure, data, source=f"{store.uri}/{path}")
    except (FactoryError, ValidationError):
        return None
