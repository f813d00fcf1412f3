import threading

from toy_cluster import Toy, fleet_of, task

from factory.dataset.quarantine import Attempts
from factory.run.drive import drive
from factory.store import LocalStore


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
    toy, watcher = Killer(capacity=1), Watcher()
    outcome = drive(
        [task(i) for i in range(6)], fleet_of(toy), watcher, threading.Event(), Attempts(store, "r")
    )
    assert sorted(line for line in watcher.lines if " " not in line) == ["0", "2", "3", "4", "5"]
    assert list(outcome.failures) == ["toy-000001"]
    deaths = [line for line in watcher.lines if line.startswith("1 ")]
    assert len(deaths) == 5
    assert deaths[-1] == "1 its worker died (for a test) False"
    others = [line for line in watcher.lines if "died" in line and not line.startswith("1 ")]
    assert len(others) <= 1, "its neighbour at the first death, and nobody after"
    assert len(store.names("attempts/0000")) == 5 + len(others)
    assert store.names("quarantine") == ["quarantine/0000/000001.json"]


def test_the_count_of_failures_outlives_the_run(tmp_path):
    store = LocalStore(str(tmp_path))
    for _ in range(3):
        Attempts(store, "r").note(task(1), "x")
    toy = Killer(capacity=1)
    outcome = drive([task(1)], fleet_of(toy), Watcher(), threading.Event(), Attempts(store, "s"))
    assert len(toy.started) == 2, "two deaths were left of five"
    assert list(outcome.failures) == ["toy-000001"]
