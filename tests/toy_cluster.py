"""A cluster that exists only in memory, with a clock turned by hand."""

from collections import deque

from factory.data import ShardTask
from factory.manifest.records import ShardRecord
from factory.run.fleet import CallCompleted, ElasticFleet, WorkerLost, WorkerReady
from factory.spec import RunSpec


def task(index):
    return ShardTask(
        dataset_id="d", name=f"toy-{index:06d}", round_index=0, shard_index=index,
        first_index=4 * index, num_indices=4, num_samples=4,
    )  # fmt: skip


def record_of(index):
    return ShardRecord(
        dataset_id="d", round_index=0, shard_index=index, path=f"{index}.tar", first_index=4 * index,
        num_indices=4, num_samples=4, num_rejected={}, num_members=12, size_bytes=1, sha256="0" * 64,
        class_images=[], class_px=[], confidence=[0.0] * 5, wall_s=0, generate_s=0, device="",
        worker="", run_id="", versions={}, finished_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


class Toy:
    """A cluster in memory: workers are ready at once, and shards land when `step` says so."""

    def __init__(self, capacity=2):
        self.num_workers = capacity
        self.now = 0.0
        self.started = []
        self.killed = []
        self.calls = {}
        self.queue = deque()
        self.going = {}
        self.auto_ready = True

    def capacity(self):
        return self.num_workers

    def start(self):
        name = len(self.started)
        self.started.append(name)
        self.calls[name] = []
        if self.auto_ready:
            self.queue.append(WorkerReady(name, f"node-{name}"))
        return name

    def assign(self, worker, task):
        self.calls[worker].append(task)

    def kill(self, worker):
        self.killed.append(worker)
        self.calls[worker] = []

    def draining_nodes(self):
        return self.going

    def events(self, timeout_s):
        self.now += timeout_s
        queue, self.queue = self.queue, deque()
        yield from queue

    def land(self, worker, position=0, result=None):
        done = self.calls[worker].pop(position)
        result = record_of(done.shard_index) if result is None else result
        self.queue.append(CallCompleted(worker, done.shard_index, result))

    def lose(self, worker, *, is_preempted=False):
        self.calls[worker] = []
        self.queue.append(WorkerLost(worker, "for a test", is_preempted))


def fleet_of(toy, **run):
    return ElasticFleet(toy, RunSpec(**run), clock=lambda: toy.now)


def turn(fleet, waiting, toy=None):
    fleet.fill(waiting)
    return list(fleet.completed())


def indices(calls):
    return [task.shard_index for task in calls]


def tasks(count, num_failed=0):
    return deque((task(i), num_failed) for i in range(count))
