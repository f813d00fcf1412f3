import shutil
import threading

import pyarrow as pa
import pytest
from small_job import make_small

import factory.dataset.receipts
from factory.care.verify import verify_dataset
from factory.dataset.committed import SnapshotKeeper, find_committed
from factory.dataset.receipts import (
    check_snapshots,
    find_records,
    is_planned,
    list_receipts,
    path_of_block,
)
from factory.dataset.state import find_plan, find_state
from factory.errors import Problem
from factory.manifest.parquet import encode_table, read_table
from factory.manifest.paths import receipt_path
from factory.manifest.records import encode_record
from factory.store import open_store


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A dataset of 11 shards in blocks of 4, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("grown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory.dataset.receipts, "BLOCK", 4)
        make_small(folder, {"dataset.num_samples": 20, "dataset.samples_per_shard": 2})
        make_small(folder, {"dataset.num_samples": 22, "dataset.samples_per_shard": 2})
    return folder / "out"


@pytest.fixture
def store(grown, tmp_path, monkeypatch):
    """A copy of `grown` to damage."""
    monkeypatch.setattr(factory.dataset.receipts, "BLOCK", 4)
    shutil.copytree(grown, tmp_path / "out")
    return open_store(str(tmp_path / "out"))


def done_of(store):
    return find_committed(store, find_plan(store))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_samples", 0),
        ("num_samples", 3),
        ("num_indices", 3),
        ("first_index", 2),
        ("path", "data/train/../../../taxes.pdf"),
        ("shard_index", 1),
        ("shard_index", 99),
        ("round_index", 1),
        ("dataset_id", "0" * 64),
    ],
)
def test_a_receipt_that_says_something_else_than_the_plan_is_not_planned(store, field, value):
    plan = find_plan(store)
    record = find_records(store, plan)[0]
    assert is_planned(record, plan)
    assert not is_planned(record.model_copy(update={field: value}), plan)


def test_whole_blocks_get_snapshots_and_the_rest_is_loose(store):
    assert store.names("snapshots") == [
        "snapshots/000000-000003.parquet",
        "snapshots/000004-000007.parquet",
    ]
    done = done_of(store)
    assert done.indices == set(range(11))
    assert done.num_samples == 22
    assert [record.shard_index for record in done.loose] == [8, 9, 10]
    assert done.stale == ()


def test_makers_are_counted_alike_with_and_without_snapshots(store):
    counts = done_of(store).makers
    assert sum(counts.values()) == 11
    for name in store.names("snapshots"):
        store.remove(name)
    assert done_of(store).makers == counts


@pytest.mark.slow
def test_with_and_without_snapshots_the_records_are_the_same(store):
    with_them = find_state(store).records
    for name in store.names("snapshots"):
        store.remove(name)
    assert find_records(store, find_plan(store)) == with_them
    assert [record.shard_index for record in with_them] == list(range(11))


def test_a_lost_snapshot_comes_back_byte_for_byte(store):
    before = {name: store.read(name) for name in store.names("snapshots")}
    for name in before:
        store.remove(name)
    find_committed(store, find_plan(store), mend=True)
    assert {name: store.read(name) for name in store.names("snapshots")} == before


def test_a_receipt_that_is_gone_is_gone_whatever_a_snapshot_says(store):
    store.remove(receipt_path(0, 5))
    done = done_of(store)
    assert done.indices == set(range(11)) - {5}
    assert done.stale == (path_of_block(1),)
    assert 5 not in {record.shard_index for record in find_records(store, find_plan(store))}


def test_the_next_run_replaces_a_stale_snapshot(store, tmp_path):
    store.remove(receipt_path(0, 5))
    make_small(tmp_path, {"dataset.num_samples": 22, "dataset.samples_per_shard": 2})
    assert done_of(store).stale == ()
    assert len(store.names("snapshots")) == 2
    assert verify_dataset(store).problems == ()


def test_a_damaged_snapshot_is_left_out_and_told(store):
    store.replace(path_of_block(0), b"x")
    assert done_of(store).indices == set(range(11))
    assert done_of(store).stale == (path_of_block(0),)
    again = "delete it: it is made again"
    assert verify_dataset(store).problems == (
        Problem(path_of_block(0), "snapshot", "not a snapshot", again),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_samples", -5),
        ("num_samples", None),
        ("num_samples", "two"),
        ("num_samples", [2]),
        ("num_samples", 2.5),
        ("shard_index", "two"),
        ("round_index", None),
        ("dataset_id", ["x"]),
        ("dataset_id", None),
    ],
)
def test_a_snapshot_with_odd_figures_is_left_out(store, name, value):
    path = path_of_block(1)
    table = read_table(store.read(path))
    place = table.schema.get_field_index(name)
    values = pa.array([value] * len(table))
    store.replace(path, encode_table(table.set_column(place, name, values)))
    found = find_committed(store, find_plan(store))
    assert (found.num_samples, found.stale) == (22, (path,))


def test_a_snapshot_that_lies_is_told(store):
    records = find_state(store).records
    changed = records[0].model_copy(update={"sha256": "0" * 64})
    store.replace(receipt_path(0, 0), encode_record(changed))
    assert [
        str(problem) for problem in check_snapshots(store, [changed, *records[1:]]).values()
    ] == [f"{path_of_block(0)}: differs from its receipts; delete it: it is made again"]


def test_receipts_are_listed_in_pieces_that_join(store):
    names = list_receipts(store, find_plan(store))
    assert names == [receipt_path(0, i) for i in range(10)] + [receipt_path(1, 10)]


def test_two_drivers_that_complete_a_block_write_one_snapshot(store):
    before = store.read(path_of_block(0))
    store.remove(path_of_block(0))
    done = done_of(store)
    threads = [threading.Thread(target=SnapshotKeeper, args=(store, done)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(path_of_block(0)) == before
