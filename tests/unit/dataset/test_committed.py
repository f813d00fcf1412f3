import pytest
from large import LargeStore

from factory.dataset import receipts
from factory.dataset.committed import NONE_COMMITTED, SnapshotKeeper, find_committed, names_in_block
from factory.manifest.paths import receipt_path
from factory.manifest.records import encode_record
from factory.plan.rounds import Plan


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(receipts, "BLOCK", 4)


class Counted(LargeStore):
    """Counts what is read, and holds what is written."""

    def __init__(self, *args, **options):
        super().__init__(*args, kept=True, **options)
        self.reads = []

    def read(self, path):
        self.reads.append(path)
        return super().read(path)


def reads_of(store, folder):
    return [path for path in store.reads if path.startswith(f"{folder}/")]


def test_of_blocks_with_snapshots_no_receipt_is_read():
    store = Counted(11)
    done = find_committed(store, store.plan)
    assert done.indices == set(range(11))
    assert done.num_samples == 44
    assert sorted(done.snapshots) == [0, 1]
    assert sorted(reads_of(store, "receipts")) == [receipt_path(0, index) for index in (8, 9, 10)]
    assert sum(done.makers.values()) == 11


def test_a_run_writes_the_snapshots_that_are_missing_and_holds_no_receipt_of_theirs():
    store = Counted(27, lost=(0, 2, 5))
    done = find_committed(store, store.plan, mend=True)
    assert sorted(done.snapshots) == [0, 1, 2, 3, 4, 5]
    assert [record.shard_index for record in done.loose] == [24, 25, 26]
    for block in (0, 2, 5):
        whole = LargeStore(27)
        path = receipts.path_of_block(block)
        assert store.written[path][0] == len(whole.read(path))


def test_who_only_looks_writes_nothing_and_holds_two_blocks_at_most():
    store = Counted(27, lost=range(6))
    done = find_committed(store, store.plan)
    assert not store.written
    assert done.indices == set(range(27))
    assert done.num_samples == 4 * 27
    assert sum(done.makers.values()) == 27
    assert len(done.loose) <= 2 * receipts.BLOCK


def test_what_is_known_is_not_read_again():
    store = Counted(11)
    known = find_committed(store, store.plan)
    store.reads.clear()
    again = find_committed(store, store.plan, known)
    assert (again.indices, again.num_samples, again.makers) == (
        known.indices,
        known.num_samples,
        known.makers,
    )
    assert not store.reads


def test_a_known_snapshot_that_is_gone_is_not_believed():
    store = Counted(11)
    known = find_committed(store, store.plan)
    store.snapshots.remove(1)
    store.reads.clear()
    assert sorted(find_committed(store, store.plan, known).snapshots) == [0]
    assert len(reads_of(store, "receipts")) == 4


@pytest.mark.parametrize("path", ["snapshots/000001-000004.parquet", "snapshots/notes.txt"])
def test_a_snapshot_of_no_block_is_stale(path):
    store = Counted(11)
    names = store.names
    store.names = lambda folder, splits=(): [
        *names(folder, splits),
        *([path] if folder == "snapshots" else []),
    ]
    assert find_committed(store, store.plan).stale == (path,)


def test_a_snapshot_of_another_dataset_is_stale():
    store = Counted(11)
    other = Plan("f" * 16, store.plan.rounds)
    # Their receipts are refused, which is told of the first that is read.
    with pytest.raises(Exception, match=r"belongs to dataset 0123456789abcdef, this is f{16}"):
        find_committed(store, other)


def test_receipts_may_come_in_any_order():
    store = Counted(8, lost=(0, 1))
    records = find_committed(Counted(8, lost=(0, 1)), store.plan).loose
    keeper = SnapshotKeeper(store, NONE_COMMITTED)
    for record in (*records[::-1], records[3]):
        keeper.add(record)
    in_order = LargeStore(8)
    for block in (0, 1):
        path = receipts.path_of_block(block)
        assert store.written[path][0] == len(in_order.read(path))
    assert keeper.loose() == ()


def test_incomplete_blocks_are_held_no_longer_than_two_blocks_last():
    whole = find_committed(Counted(8, lost=(0, 1)), LargeStore(40).plan).loose
    store = Counted(40, lost=range(10))
    keeper = SnapshotKeeper(store, NONE_COMMITTED)
    for block in range(10):
        for record in whole[:3]:  # the fourth is in quarantine
            keeper.add(record.model_copy(update={"shard_index": 4 * block + record.shard_index}))
        assert len(keeper.loose()) <= 2 * receipts.BLOCK
    assert len(keeper.indices) == 30
    assert not store.written


def test_names_of_a_block_end_with_the_plan():
    plan = LargeStore(6).plan
    assert names_in_block(plan, 1) == [receipt_path(0, 4), receipt_path(0, 5)]
    assert names_in_block(plan, 2) == []


def test_a_receipt_under_another_name_is_refused_as_before():
    store = Counted(6, lost=(0,))
    read = store.read
    lie = encode_record(find_committed(store, store.plan).loose[1])
    store.read = lambda path: lie if path == receipt_path(0, 2) else read(path)
    with pytest.raises(Exception, match="filed under another name"):
        find_committed(store, store.plan)
