"""The service's cache of a dataset's store; it can be discarded at any time.

Receipts are immutable, so that only new ones are read. Each receipt's coverage is merged into its
round's and then dropped, which keeps the memory for a million samples small.
"""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import groupby

from factory.dataset.quarantine import quarantined_indices
from factory.dataset.receipts import read_receipts
from factory.dataset.state import find_coverage_spec, find_plan
from factory.errors import FactoryError
from factory.manifest.coverage import Coverage, merge_coverage
from factory.manifest.labels import DatasetLabels, read_labels
from factory.manifest.paths import LABELS_PATH, RECEIPTS
from factory.manifest.records import ShardRecord
from factory.plan.rounds import Plan, Round
from factory.plan.targets import TargetProgress, cover_rounds, measure_progress
from factory.serve.answers import ShardRun, ShardState
from factory.store import Store

_MAX_AGE_S = 1.0
# The driver reports every second; without a report for this long it is assumed to be dead.
_IN_FLIGHT_LIFE_S = 15.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the dataset at one moment: a function of the store, except for `in_flight`."""

    uri: str
    version: int
    """Increases with every change."""
    plan: Plan
    records: tuple[ShardRecord, ...]
    """Committed shards in order, without their coverage."""
    by_round: dict[int, Coverage]
    coverage: Coverage
    meaning: DatasetLabels | None
    progress: TargetProgress | None
    """None without targets."""
    quarantined: frozenset[int]
    in_flight: frozenset[int]
    """Shards assigned to workers, as last reported by the driver; empty if no run is active."""
    num_unknown: int
    """Samples of shards whose receipts carry no coverage."""

    def state_of(self, shard_index: int, done: Collection[int]) -> ShardState:
        """The state of a shard; `done` are the committed ones. "leased" = assigned to a worker."""
        if shard_index in done:
            return "committed"
        if shard_index in self.quarantined:
            return "quarantined"
        return "leased" if shard_index in self.in_flight else "planned"

    def runs(self, round_: Round) -> list[ShardRun]:
        """Group the round's consecutive shards by state."""
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


class DatasetView:
    """Keeps a snapshot of the dataset in `store` up to date. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """Start without a snapshot."""
        self.store = store
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._checked_at = -1e9
        self._in_flight: frozenset[int] = frozenset()
        self._in_flight_at = -1e9
        self._names: set[str] = set()

    def set_in_flight(self, shard_indices: Collection[int]) -> None:
        """Set the shards that are assigned to workers; expires after 15 s unless refreshed."""
        self._in_flight, self._in_flight_at = frozenset(shard_indices), time.monotonic()

    def snapshot(self) -> Snapshot:
        """Return a snapshot that is at most a second old.

        While one thread refreshes it, others get the previous one. If the store fails, the last
        snapshot is returned.

        Raises:
            StoreError: If there is no dataset, or the store fails before the first snapshot.
        """
        fresh = time.monotonic() - self._checked_at < _MAX_AGE_S
        known = self._snapshot
        if known is not None and (fresh or not self._lock.acquire(blocking=False)):
            return self._with_in_flight(known)
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
        return self._with_in_flight(self._snapshot)

    def _with_in_flight(self, snapshot: Snapshot) -> Snapshot:
        alive = time.monotonic() - self._in_flight_at < _IN_FLIGHT_LIFE_S
        in_flight = self._in_flight if alive else frozenset()
        return (
            replace(snapshot, in_flight=in_flight) if in_flight != snapshot.in_flight else snapshot
        )

    def _refresh(self) -> None:
        """Read new receipts; start over if one was deleted, since coverage cannot be subtracted."""
        names = set(self.store.names(RECEIPTS))
        known = self._snapshot
        if known is not None and not names >= self._names:
            known, self._names = None, set()
        plan = find_plan(self.store, known.plan.rounds if known else ())
        records = read_receipts(self.store, sorted(names - self._names), plan)
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
            in_flight=frozenset(),
            num_unknown=unknown + (known.num_unknown if known else 0),
        )
        self._names |= names
        self._publish(snapshot)

    def _publish(self, snapshot: Snapshot) -> None:
        """Publish `snapshot` with the next version, if anything has changed."""
        old = self._snapshot
        if old is not None and replace(snapshot, version=old.version) == old:
            return
        self._snapshot = replace(snapshot, version=old.version + 1 if old else 1)

    def _meaning(self) -> DatasetLabels | None:
        data = self.store.read(LABELS_PATH)
        return read_labels(data, source=f"{self.store.uri}/{LABELS_PATH}") if data else None
