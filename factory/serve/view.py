"""What the service knows of a dataset: a cache of its store that can be thrown away at any time.

Receipts never change once written, so only new ones are read. Of each the coverage is added to its
round's and dropped, which keeps the memory of a million samples small.
"""

import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

from factory.dataset.holdings import find_coverage_spec, find_plan
from factory.dataset.quarantine import quarantined_indices
from factory.errors import FactoryError
from factory.manifest.coverage import Coverage, merge_coverage
from factory.manifest.labels import DatasetLabels, read_labels
from factory.manifest.paths import LABELS_PATH, RECEIPTS
from factory.manifest.records import ShardRecord, read_record
from factory.plan.rounds import Plan, Round
from factory.plan.targets import TargetProgress, cover_rounds, measure_progress
from factory.serve.answers import ShardRun, ShardState
from factory.store import Store

_READERS = 8
_MAX_AGE_S = 1.0
_LEASE_LIFE_S = 15.0
_RATE_OVER = 24
_IDLE_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The dataset at one moment. Equal stores give equal snapshots but for leases and times."""

    uri: str
    version: int
    """Grows whenever something is different."""
    plan: Plan
    records: tuple[ShardRecord, ...]
    """Committed shards in order, without their coverage."""
    by_round: dict[int, Coverage]
    coverage: Coverage
    meaning: DatasetLabels | None
    progress: TargetProgress | None
    """None without targets."""
    quarantined: frozenset[int]
    leases: frozenset[int]
    """Shards that the running driver has handed out, as it told last; empty if nobody runs."""
    num_unknown: int
    """Samples of shards whose receipts carry no coverage."""

    def state_of(self, shard_index: int, done: Collection[int]) -> ShardState:
        """What has become of a shard; `done` are those that are committed."""
        if shard_index in done:
            return "committed"
        if shard_index in self.quarantined:
            return "quarantined"
        return "leased" if shard_index in self.leases else "planned"

    def runs(self, round_: Round) -> list[ShardRun]:
        """The round's shards and sample indices, those of one state in a row together."""
        done = {record.shard_index for record in self.records}
        found = []
        states = ((self.state_of(task.shard_index, done), task) for task in round_.tasks())
        for state, group in groupby(states, key=lambda pair: pair[0]):
            tasks = [task for _, task in group]
            found.append(
                ShardRun(
                    first_shard=tasks[0].shard_index,
                    end_shard=tasks[-1].shard_index + 1,
                    first_index=tasks[0].first_index,
                    end_index=tasks[-1].first_index + tasks[-1].num_indices,
                    state=state,
                )
            )
        return found

    def pairs_per_s(self) -> float:
        """Samples per second over the latest commits; 0 if the last is over a minute old."""
        latest = sorted(self.records, key=lambda record: record.finished_at)[-_RATE_OVER:]
        if len(latest) < 2:
            return 0.0
        times = [datetime.fromisoformat(record.finished_at) for record in latest]
        if (datetime.now(UTC) - times[-1]).total_seconds() > _IDLE_AFTER_S:
            return 0.0
        seconds = max(1.0, (times[-1] - times[0]).total_seconds())
        return sum(record.num_samples for record in latest[1:]) / seconds


class DatasetView:
    """Keeps a snapshot of the dataset in `store` fresh. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """Read nothing yet."""
        self.store = store
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._checked_at = -1e9
        self._leases: frozenset[int] = frozenset()
        self._told_at = -1e9
        self._names: set[str] = set()

    def tell_leases(self, shard_indices: Collection[int]) -> None:
        """What the driver has handed out now. It must tell again within seconds to be believed."""
        self._leases, self._told_at = frozenset(shard_indices), time.monotonic()

    def snapshot(self) -> Snapshot:
        """The dataset as it was at most a second ago.

        Raises:
            StoreError: If there is no dataset, or the store fails and nothing is known yet.
        """
        fresh = time.monotonic() - self._checked_at < _MAX_AGE_S
        known = self._snapshot
        if known is not None and (fresh or not self._lock.acquire(blocking=False)):
            return self._with_leases(known)
        if known is None:
            self._lock.acquire()
        try:
            self._refresh()
        except FactoryError:
            if self._snapshot is None:
                raise
        finally:
            self._checked_at = time.monotonic()
            self._lock.release()
        assert self._snapshot is not None
        return self._with_leases(self._snapshot)

    def _with_leases(self, snapshot: Snapshot) -> Snapshot:
        alive = time.monotonic() - self._told_at < _LEASE_LIFE_S
        leases = self._leases if alive else frozenset()
        return replace(snapshot, leases=leases) if leases != snapshot.leases else snapshot

    def _refresh(self) -> None:
        """Look for what is new; start anew if something that was there is gone."""
        names = set(self.store.names(RECEIPTS))
        known = self._snapshot
        if known is not None and not names >= self._names:
            known, self._names = None, set()
        plan = find_plan(self.store, known.plan.rounds if known else ())
        records = self._read(sorted(names - self._names))
        by_round = dict(known.by_round) if known else {}
        for round_index, covered in cover_rounds(records).items():
            by_round[round_index] = merge_coverage([by_round.get(round_index, Coverage()), covered])
        light = [record.model_copy(update={"coverage": None}) for record in records]
        before = known.records if known else ()
        meaning = known.meaning if known and known.meaning else self._meaning()
        coverage = merge_coverage(by_round.values())
        spec = find_coverage_spec(self.store) if meaning else None
        unknown = sum(record.num_samples for record in records if record.coverage is None)
        snapshot = Snapshot(
            uri=self.store.uri,
            version=0,
            plan=plan,
            records=tuple(sorted([*before, *light], key=lambda record: record.shard_index)),
            by_round=by_round,
            coverage=coverage,
            meaning=meaning,
            progress=measure_progress(spec, meaning, plan, by_round) if spec and meaning else None,
            quarantined=frozenset(quarantined_indices(self.store)),
            leases=frozenset(),
            num_unknown=unknown + (known.num_unknown if known else 0),
        )
        self._names |= names
        self._publish(snapshot)

    def _publish(self, snapshot: Snapshot) -> None:
        """Take over `snapshot` with the next version, if anything in it is new."""
        old = self._snapshot
        if old is not None and replace(snapshot, version=old.version) == old:
            return
        self._snapshot = replace(snapshot, version=old.version + 1 if old else 1)

    def _read(self, names: list[str]) -> list[ShardRecord]:
        def read(name: str) -> ShardRecord:
            return read_record(self.store.read(name) or b"", source=f"{self.store.uri}/{name}")

        if not names:
            return []
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(read, names))

    def _meaning(self) -> DatasetLabels | None:
        data = self.store.read(LABELS_PATH)
        return read_labels(data, source=f"{self.store.uri}/{LABELS_PATH}") if data else None
