import pytest

from factory.data import ShardTask
from factory.dataset.quarantine import Attempts, find_quarantined, release
from factory.errors import StoreError
from factory.store import LocalStore


def task(index):
    return ShardTask(
        dataset_id="d", name=f"toy-{index:06d}", round_index=0, shard_index=index,
        first_index=4 * index, num_indices=4, num_samples=4,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path))


def test_every_failure_is_a_file_and_the_count_goes_on_in_the_next_run(store):
    first = Attempts(store, "run-1")
    assert [first.note(task(3), "a"), first.note(task(3), "b")] == [1, 2]
    again = Attempts(store, "run-2")
    assert (again.num_failed(task(3)), again.num_failed(task(4))) == (2, 0)
    assert again.note(task(3), "c") == 3
    assert store.names("attempts") == [f"attempts/0000/000003-{i}.json" for i in (1, 2, 3)]


def test_two_drivers_count_each_others_failures(store):
    one, two = Attempts(store, "run-1"), Attempts(store, "run-2")
    assert one.note(task(3), "a") == 1
    assert two.note(task(3), "b") == 2
    assert one.note(task(3), "c") == 3


def test_a_shard_in_quarantine_is_listed_with_its_reason_until_it_is_released(store):
    attempts = Attempts(store, "run-1")
    attempts.note(task(3), "boom")
    attempts.give_up(task(3), "boom")
    attempts.give_up(task(1), "bang")
    found = find_quarantined(store)
    assert [(f.name, f.attempt, f.reason, f.run_id) for f in found] == [
        ("toy-000001", 0, "bang", "run-1"),
        ("toy-000003", 1, "boom", "run-1"),
    ]
    assert [f.name for f in find_quarantined(store, done={3})] == ["toy-000001"]
    release(store, {3})
    assert [f.name for f in find_quarantined(store)] == ["toy-000001"]
    assert Attempts(store, "run-2").num_failed(task(3)) == 0


class CrashingStore(LocalStore):
    """A store whose process dies after so many removals."""

    removals_left = 1

    def remove(self, path):
        if not self.removals_left:
            raise KeyboardInterrupt
        self.removals_left -= 1
        super().remove(path)


@pytest.mark.parametrize("num_removed", range(4))
def test_a_release_that_was_cut_short_leaves_the_shard_listed_and_is_repeated(
    tmp_path, num_removed
):
    store = CrashingStore(str(tmp_path))
    attempts = Attempts(store, "run-1")
    for _ in range(3):
        attempts.note(task(3), "boom")
    attempts.give_up(task(3), "boom")
    store.removals_left = num_removed
    with pytest.raises(KeyboardInterrupt):
        release(store, {3})
    assert [f.name for f in find_quarantined(store)] == ["toy-000003"]
    store.removals_left = 9
    release(store, {3})
    assert find_quarantined(store) == []
    assert Attempts(store, "run-2").num_failed(task(3)) == 0


def test_giving_up_twice_is_giving_up(store):
    for run in ("run-1", "run-2"):
        Attempts(store, run).give_up(task(3), run)
    assert [f.run_id for f in find_quarantined(store)] == ["run-1"]


def test_an_entry_that_cannot_be_read_is_told(store):
    store.create("quarantine/0000/000003.json", b"{")
    with pytest.raises(StoreError, match=r"000003.json: not a quarantine entry \(1 problem\)"):
        find_quarantined(store)
