"""The rules of `run/fleet.py`, on clusters that exist only in memory, with clocks turned by hand."""

import threading
from collections import deque

import pytest

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts
from factory.errors import FactoryError, PluginError, PreemptedError, RetryableError
from factory.manifest.records import ShardRecord
from factory.run.drive import drive
from factory.run.fleet import Cluster, Completed, ElasticFleet, Lost, Ready
from factory.spec import RunSpec
from factory.store import LocalStore


def task(index):
    return ShardTask(
        dataset_id="d", name=f"toy-{index:06d}", round_index=0, shard_index=index,
        first_index=4 * index, num_indices=4, num_samples=4,
    )  # fmt: skip


def record_of(index):
    return ShardRecord(
        dataset_id="d", round_index=0, shard_index=index, path=f"{index}.tar", first_index=4 * index,
        num_indices=4, num_samples=4, num_rejected={}, num_members=12, size_bytes=1, sha256="",
        class_images=[], class_px=[], confidence=[0.0] * 5, wall_s=0, generate_s=0, device="",
        worker="", run_id="", versions={}, finished_at="",
    )  # fmt: skip


class Toy:
    """A cluster in memory: workers are ready at once, and shards land when `step` says so."""

    def __init__(self, room=2):
        self.num_room = room
        self.now = 0.0
        self.started = []
        self.killed = []
        self.calls = {}
        self.queue = deque()
        self.going = {}
        self.auto_ready = True

    def room(self):
        return self.num_room

    def start(self):
        name = len(self.started)
        self.started.append(name)
        self.calls[name] = []
        if self.auto_ready:
            self.queue.append(Ready(name, f"node-{name}"))
        return name

    def assign(self, worker, task):
        self.calls[worker].append(task)

    def kill(self, worker):
        self.killed.append(worker)
        self.calls[worker] = []

    def leaving(self):
        return self.going

    def events(self, timeout_s):
        self.now += timeout_s
        queue, self.queue = self.queue, deque()
        yield from queue

    def land(self, worker, position=0, result=None):
        done = self.calls[worker].pop(position)
        result = record_of(done.shard_index) if result is None else result
        self.queue.append(Completed(worker, done.shard_index, result))

    def lose(self, worker, *, is_innocent=False):
        self.calls[worker] = []
        self.queue.append(Lost(worker, "for a test", is_innocent))


def fleet_of(toy, **run):
    return ElasticFleet(toy, RunSpec(**run), clock=lambda: toy.now)


def turn(fleet, waiting, toy=None):
    fleet.fill(waiting)
    return list(fleet.completed())


def indices(calls):
    return [task.shard_index for task in calls]


def tasks(count, num_failed=0):
    return deque((task(i), num_failed) for i in range(count))


def test_it_is_a_cluster():
    assert isinstance(Toy(), Cluster)


def test_every_worker_gets_two_calls_the_idle_first():
    toy, waiting = Toy(room=2), tasks(9)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert {name: indices(calls) for name, calls in toy.calls.items()} == {0: [0, 2], 1: [1, 3]}
    toy.land(1)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[1]) == [3, 4]


def test_no_more_workers_are_started_than_there_is_to_do():
    toy = Toy(room=8)
    turn(fleet_of(toy), tasks(3))
    assert len(toy.started) == 3


def test_nothing_is_given_to_a_worker_that_is_not_ready():
    toy = Toy(room=1)
    toy.auto_ready = False
    fleet, waiting = fleet_of(toy), tasks(2)
    turn(fleet, waiting)
    turn(fleet, waiting)
    assert toy.calls == {0: []}
    assert len(waiting) == 2


def test_a_dead_worker_is_replaced_and_its_shards_come_back():
    toy, waiting = Toy(room=1), tasks(3)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.lose(0)
    back = list(fleet.completed())
    assert [t.shard_index for t, _ in back] == [0, 1]
    assert all(type(error) is RetryableError for _, error in back)
    assert str(back[0][1]) == "its worker died (for a test)"
    turn(fleet, waiting)
    assert toy.started == [0, 1]


def test_a_node_that_goes_is_nobodys_fault():
    toy, waiting = Toy(room=1), tasks(1)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.lose(0, is_innocent=True)
    ((_, error),) = fleet.completed()
    assert isinstance(error, PreemptedError)


def test_a_shard_that_failed_is_made_alone():
    toy = Toy(room=1)
    fleet = fleet_of(toy)
    waiting = deque([(task(0), 0), (task(1), 1), (task(2), 0)])
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[0]) == [0], "the suspect waits until the worker is idle"
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[0]) == [1], "and nothing joins it"
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[0]) == [2]


def test_workers_are_added_when_the_cluster_grows_and_only_for_auto():
    toy, fixed = Toy(room=1), Toy(room=1)
    fleet, other = fleet_of(toy), fleet_of(fixed, num_actors=1)
    for _ in range(2):
        turn(fleet, tasks(20))
        turn(other, tasks(20))
    toy.num_room = fixed.num_room = 3
    for _ in range(4):
        turn(fleet, tasks(20))
        turn(other, tasks(20))
    assert (len(toy.started), len(fixed.started)) == (3, 1)


def test_a_worker_retires_after_its_shards_and_only_when_it_is_idle():
    toy, waiting = Toy(room=1), tasks(9)
    fleet = fleet_of(toy, shards_per_actor=2)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.land(0)
    turn(fleet, waiting)
    assert indices(toy.calls[0]) == [2], "it has made two, and one is under way"
    assert toy.killed == []
    toy.land(0)
    turn(fleet, waiting)
    assert toy.killed == [0]
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[1]) == [3, 4]


def test_a_worker_that_hangs_is_killed_and_its_shards_are_tried_again():
    toy, waiting = Toy(room=1), tasks(2)
    fleet = fleet_of(toy, shard_deadline_s=5)
    turn(fleet, waiting)
    back = []
    while not back:
        back = turn(fleet, waiting)
    waiting.extend((t, 1) for t, _ in back)
    turn(fleet, waiting)
    assert [t.shard_index for t, _ in back] == [0, 1]
    assert str(back[0][1]) == "not done after 5 s (run.shard_deadline_s): its worker was killed"
    assert type(back[0][1]) is RetryableError
    assert toy.killed == [0]
    assert len(toy.started) == 2


def test_a_worker_that_lands_shards_in_time_does_not_hang():
    toy, waiting = Toy(room=1), tasks(20)
    fleet = fleet_of(toy, shard_deadline_s=5)
    turn(fleet, waiting)
    fleet.fill(waiting)
    for _ in range(5):
        toy.now += 3
        toy.land(0)
        turn(fleet, waiting)
        fleet.fill(waiting)
    assert toy.killed == []


def draining(seconds_left):
    """A fleet whose shards take 10 s, and whose worker's node leaves in `seconds_left`."""
    toy, waiting = Toy(room=1), tasks(9)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.now += 9
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.going = {"node-0": seconds_left}
    toy.now += 2
    back = turn(fleet, waiting)
    return toy, fleet, waiting, back


def test_a_node_that_leaves_soon_drops_its_shards_at_once():
    toy, _, _, back = draining(seconds_left=5.0)
    assert toy.killed == [0]
    assert [t.shard_index for t, _ in back] == [1, 2]
    assert all(isinstance(error, PreemptedError) for _, error in back)
    assert str(back[0][1]) == "its node leaves in 5 s"


def test_a_node_that_leaves_later_finishes_its_shards_and_gets_no_more():
    toy, fleet, waiting, back = draining(seconds_left=60.0)
    assert (toy.killed, back) == ([], [])
    toy.land(0)
    toy.land(0)
    assert [t.shard_index for t, _ in turn(fleet, waiting)] == [1, 2]
    assert toy.killed == [0]
    assert indices(toy.calls[1]) == [3, 4], "its replacement goes on"


def test_workers_that_die_without_end_stop_the_run():
    toy, waiting = Toy(room=1), tasks(1)
    fleet = fleet_of(toy)

    def die_for_ever():
        while True:
            turn(fleet, waiting)
            for name, calls in toy.calls.items():
                if calls:
                    waiting.extend((t, 0) for t in calls)
                    toy.lose(name)

    with pytest.raises(FactoryError, match="workers died 6 times in a row without finishing"):
        die_for_ever()


def test_a_cluster_that_never_starts_a_worker_is_given_up():
    toy = Toy(room=1)
    toy.auto_ready = False
    fleet = fleet_of(toy)

    def wait_for_ever():
        while True:
            turn(fleet, tasks(1))

    with pytest.raises(PluginError, match="no worker could start for 1800 s; the cluster holds 1"):
        wait_for_ever()


class Watcher:
    def __init__(self):
        self.lines = []

    def started(self, num_samples, num_done):
        pass

    def committed(self, record):
        self.lines.append(f"{record.shard_index}")

    def failed(self, task, reason, *, again):
        self.lines.append(f"{task.shard_index} {reason} {again}")


class Killer(Toy):
    """Every worker that makes shard 1 dies; the others land."""

    def events(self, timeout_s):
        for name, calls in list(self.calls.items()):
            if any(t.shard_index == 1 for t in calls):
                self.lose(name)
            elif calls:
                self.land(name)
        yield from super().events(timeout_s)


def test_a_shard_that_kills_its_workers_ends_in_quarantine_and_takes_nobody_with_it(tmp_path):
    store = LocalStore(str(tmp_path))
    toy, watcher = Killer(room=1), Watcher()
    outcome = drive(
        [task(i) for i in range(6)], fleet_of(toy), watcher, threading.Event(), Attempts(store, "r")
    )
    assert sorted(line for line in watcher.lines if " " not in line) == ["0", "2", "3", "4", "5"]
    assert list(outcome.failures) == ["toy-000001"]
    deaths = [line for line in watcher.lines if line.startswith("1 ")]
    assert len(deaths) == 5
    assert deaths[-1] == "1 RetryableError: its worker died (for a test) False"
    others = [line for line in watcher.lines if "died" in line and not line.startswith("1 ")]
    assert len(others) <= 1, "its neighbour at the first death, and nobody after"
    assert len(store.names("attempts/0000")) == 5 + len(others)
    assert store.names("quarantine") == ["quarantine/0000/000001.json"]


def test_the_count_of_failures_outlives_the_run(tmp_path):
    store = LocalStore(str(tmp_path))
    for _ in range(3):
        Attempts(store, "r").note(task(1), "x")
    toy = Killer(room=1)
    outcome = drive([task(1)], fleet_of(toy), Watcher(), threading.Event(), Attempts(store, "s"))
    assert len(toy.started) == 2, "two deaths were left of five"
    assert list(outcome.failures) == ["toy-000001"]
