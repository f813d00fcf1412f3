"""What a driver watches during a run: snapshots are due, makers are mixed, a listing lacks shards."""

import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial

import torch

from factory.data import ShardTask
from factory.dataset.committed import SnapshotKeeper, find_committed
from factory.dataset.listing import check_listing
from factory.dataset.receipts import list_receipts
from factory.dataset.state import DatasetState, find_plan
from factory.dataset.stored_records import stored_state
from factory.log import log_event
from factory.make.machine import device_name, find_byte_versions
from factory.manifest.makers import Maker, maker_of
from factory.manifest.paths import receipt_path
from factory.manifest.records import ShardRecord
from factory.plan.rounds import Plan
from factory.run.base import Observer, SampleObserver
from factory.run.blank import BlankWatch
from factory.run.worker import device_of
from factory.spec import EncodeSpec, RunSpec
from factory.store import Store


def find_driver_maker(run: RunSpec, encode: EncodeSpec) -> Maker:
    """Who makes the shards of a run, as far as the driver can know it before the first one.

    Workers of a cluster have devices of their own, and so has a GPU that is not in this machine:
    their facts are left out.
    """
    device = device_of(run)
    is_elsewhere = run.executor == "ray" and bool(run.address)
    if is_elsewhere or (device.type == "cuda" and not torch.cuda.is_available()):
        versions = find_byte_versions(torch.device("cpu"), encode)
        del versions["kernels"]
        return maker_of("", versions)
    return maker_of(device_name(device), find_byte_versions(device, encode))


class MakerWatch:
    """Logs one line for each maker that joins and differs from those who made shards before."""

    def __init__(self, there: Mapping[Maker, int]) -> None:
        """Start with the numbers of shards that are there, by maker."""
        self._shards = Counter(dict(there))
        self._joined: set[Maker] = set()
        self._said: set[tuple[str, str]] = set()

    def joined(self, maker: Maker) -> None:
        """Someone is about to make shards."""
        if maker in self._joined:
            return
        self._joined.add(maker)
        others = [other for other in self._shards if maker.differences_to(other)]
        self._shards.setdefault(maker, 0)
        if not others:
            return
        other = max(others, key=lambda other: (self._shards[other], other))
        differences = maker.differences_to(other)
        here = ", ".join(f"{name} {ours}" for name, ours, _ in differences)
        there = ", ".join(f"{name} {theirs}" for name, _, theirs in differences)
        # What the driver knew before is not said again of each of its workers.
        if (here, there) not in self._said:
            self._said.add((here, there))
            self._warn(here, there, other, others)

    def committed(self, record: ShardRecord) -> None:
        """A shard was committed, by this run or another one."""
        maker = maker_of(record.device, record.versions)
        self.joined(maker)
        self._shards[maker] += 1

    def _warn(self, here: str, there: str, other: Maker, others: list[Maker]) -> None:
        num_others = len(others) - 1
        log_event(
            "other_maker",
            level=logging.WARNING,
            here=here,
            there=there,
            shards=self._shards[other],
            **({"more_makers": num_others} if num_others else {}),
            means="equal samples may have other bytes; `factory verify` lists who made which shards",
        )


class WatchedRun:
    """An observer that keeps snapshots, watches makers and images, and passes on what it is told."""

    def __init__(self, observer: Observer, keeper: SnapshotKeeper, makers: MakerWatch) -> None:
        """Tell `observer` too."""
        self._observer = observer
        self._keeper = keeper
        self.joined = makers.joined
        self._makers = makers
        self._blank = BlankWatch()
        if isinstance(observer, SampleObserver):
            self.underway = observer.underway

    def started(self, num_samples: int, num_done: int) -> None:
        """A round starts."""
        self._observer.started(num_samples, num_done)

    def committed(self, record: ShardRecord) -> None:
        """A shard was committed."""
        self._keeper.add(record)
        self._makers.committed(record)
        self._blank.committed(record)
        self._observer.committed(record)

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        """An attempt failed."""
        self._observer.failed(task, reason, again=again)


def find_listed(store: Store, plan: Plan, keeper: SnapshotKeeper) -> DatasetState:
    """Read the dataset as it is listed now, which holds every shard that `keeper` knows.

    Raises:
        StoreError: If the listing lacks one of them, though its receipt can be read.
    """
    plan = find_plan(store, plan.rounds)
    done = find_committed(store, plan, keeper.known(), mend=True)
    unlisted = keeper.indices - done.indices
    if unlisted:
        tasks = (task for task in plan.tasks() if task.shard_index in unlisted)
        names = [receipt_path(task.round_index, task.shard_index) for task in tasks]
        check_listing(store, names, partial(list_receipts, store, plan))
    return stored_state(store, plan, done)
