"""What the driver of a large run costs, without Ray: its real loop, simulated workers and clock.

    python tests/bench/driver.py --actors 1000 --planned 1000000 --shards 20000

Plans so many shards, drives the first ones of them through `drive` and `ElasticFleet` as Ray's events
would come, one completion at a time, and divides the processor time of this process by the time that the
run would have taken. Receipts are as long as those of shards with 250 samples; snapshots are kept as
in a run; the store is in memory. Resume and end: `large_run.py`.
"""

import argparse
import heapq
import pickle
import random
import resource
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from large import LargeStore
from small_job import small_job

from factory.dataset import receipts
from factory.dataset.committed import NONE_COMMITTED, SnapshotKeeper
from factory.dataset.quarantine import Attempts
from factory.errors import Interrupted
from factory.manifest.table import records_of
from factory.plan.identity import make_identity
from factory.plan.rounds import make_plan
from factory.run.drive import drive
from factory.run.fleet import CallCompleted, ElasticFleet, WorkerReady
from factory.spec import RunSpec


class Simulated:
    """Workers that take about `mean_s` for a shard, and a clock that jumps to the next event."""

    def __init__(self, actors, mean_s):
        self.now = 0.0
        self.actors, self.mean_s = actors, mean_s
        self.random = random.Random(0)
        self.queue = []
        self.free_at = {}
        self.num_started = 0
        found = records_of(LargeStore(receipts.BLOCK).table(0, 500))
        self.records = [pickle.dumps(record) for record in found]

    def capacity(self):
        return self.actors

    def start(self):
        name = self.num_started
        self.num_started += 1
        self.free_at[name] = self.now + 30
        heapq.heappush(self.queue, (self.now + 30, name, None))
        return name

    def assign(self, worker, task):
        begin = max(self.now, self.free_at[worker])
        self.free_at[worker] = begin + self.mean_s * self.random.uniform(0.8, 1.2)
        heapq.heappush(self.queue, (self.free_at[worker], worker, task.shard_index))

    def record_of(self, shard_index):
        # Each receipt is an object of its own, unpacked as Ray unpacks it.
        record = pickle.loads(self.records[shard_index % len(self.records)])
        return record.model_copy(update={"shard_index": shard_index})

    def kill(self, worker):
        pass

    def draining_nodes(self):
        return {}

    def events(self, timeout_s):
        if not self.queue or self.queue[0][0] > self.now + timeout_s:
            self.now += timeout_s
            return
        self.now, worker, shard_index = heapq.heappop(self.queue)
        if shard_index is None:
            yield WorkerReady(worker, f"node-{worker}")
        else:
            yield CallCompleted(worker, shard_index, self.record_of(shard_index))


class NoStore:
    """Takes what a keeper writes, and holds nothing."""

    num_bytes = 0

    def names(self, *_):
        return []

    def create(self, _, data):
        self.num_bytes += len(data)
        return True


class Watcher:
    """Keeps snapshots, and asks for a stop after a number of shards."""

    def __init__(self, keeper, limit, stop):
        self.keeper, self.limit, self.stop = keeper, limit, stop
        self.num_done = 0

    def committed(self, record):
        self.keeper.add(record)
        self.num_done += 1
        if self.num_done == self.limit:
            self.stop.set()

    def failed(self, task, reason, *, again):
        raise AssertionError(reason)


def memory_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, default=1000)
    parser.add_argument("--planned", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=20_000)
    parser.add_argument("--shards-per-s", type=float, default=20)
    given = parser.parse_args()
    start_mib = memory_mib()
    spec = small_job(
        Path("/nowhere"), {"dataset.num_samples": given.planned, "dataset.samples_per_shard": 1}
    )
    began = time.process_time()
    plan = make_plan(spec, make_identity(spec, weights_sha256="", segmenter_sha256=""))
    tasks = plan.without(set())
    spent, mib = time.process_time() - began, memory_mib() - start_mib
    print(f"plan: {len(tasks):,} tasks, {spent:.1f} s CPU, {mib:,.0f} MiB", flush=True)
    cluster = Simulated(given.actors, given.actors / given.shards_per_s)
    fleet = ElasticFleet(
        cluster,
        RunSpec(address="auto", shard_deadline_s=1e9, shards_per_actor=10**9),
        lambda: cluster.now,
    )
    stop, store = threading.Event(), NoStore()
    keeper = SnapshotKeeper(store, NONE_COMMITTED)
    watcher = Watcher(keeper, given.shards, stop)
    began = time.process_time()
    with suppress(Interrupted):
        drive(tasks, fleet, watcher, stop, Attempts(store, "bench"))
    spent = time.process_time() - began
    per_shard = spent / watcher.num_done
    print(f"loop: {watcher.num_done:,} shards in {cluster.now:,.0f} simulated s, {spent:.1f} s CPU")
    share = 100 * per_shard * given.shards_per_s
    print(
        f"      {1e3 * per_shard:.2f} ms a shard: {share:.1f} % of a core at {given.shards_per_s:g}/s"
    )
    print(
        f"peak: {memory_mib():,.0f} MiB, {memory_mib() - start_mib:,.0f} MiB of them since the start"
    )


if __name__ == "__main__":
    main()
