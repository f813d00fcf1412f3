import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from large import LargeStore

from factory.dataset import receipts
from factory.dataset.state import DatasetState
from factory.dataset.stored_records import (
    StoredRecords,
    find_stored_state,
    sizes_of,
    tables_of,
)
from factory.dataset.views import make_manifest, write_views
from factory.manifest.columns import row_of, schema_of
from factory.manifest.parquet import encode_table, read_table
from factory.manifest.paths import MANIFEST_PATH, index_path
from factory.manifest.records import ShardRecord
from factory.manifest.table import read_manifest, writing_manifest

BLOCK = 4
TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(receipts, "BLOCK", BLOCK)


def stored(num_shards, **options):
    store = LargeStore(num_shards, kept=True, **options)
    return store, find_stored_state(store)


def held(num_shards):
    """The same receipts in a tuple, none of them from a snapshot."""
    store = LargeStore(num_shards)
    records = [receipts.find_record(store, task) for task in store.plan.tasks()]
    return DatasetState(store.plan, tuple(records))


def views_of(num_shards, state):
    store = LargeStore(num_shards, kept=True)
    write_views(store, make_manifest(store, state(store)))
    return store.views


@settings(max_examples=8, deadline=None)
@given(num_shards=st.integers(BLOCK + 1, 5 * BLOCK), lost=st.sets(st.integers(0, 4)))
def test_streamed_views_are_those_of_receipts_that_are_held(num_shards, lost):
    receipts_block, receipts.BLOCK = receipts.BLOCK, BLOCK
    try:
        store, state = stored(num_shards, lost=lost)
        write_views(store, make_manifest(store, state))
        assert store.views == views_of(num_shards, lambda _: held(num_shards))
    finally:
        receipts.BLOCK = receipts_block


def test_a_manifest_of_one_block_and_its_index_are_written_as_versions_before_wrote_them():
    store = LargeStore(BLOCK, kept=True)
    state = find_stored_state(store)
    assert isinstance(state.records, StoredRecords)
    manifest = make_manifest(store, state)
    write_views(store, manifest)
    head = manifest.model_dump(mode="json", exclude={"records"})
    metadata = {"factory": json.dumps(head, sort_keys=True)}
    schema = schema_of(ShardRecord).with_metadata(metadata)
    rows = [row_of(record) for record in held(BLOCK).records]
    assert store.views[MANIFEST_PATH] == encode_table(pa.Table.from_pylist(rows, schema=schema))
    shards = [
        {"url": f"../{r.path}", "nsamples": r.num_samples, "filesize": r.size_bytes}
        for r in held(BLOCK).records
    ]
    index = {"wids_version": 1, "name": "large", "shardlist": shards}
    assert store.views[index_path()] == (json.dumps(index, indent=1) + "\n").encode()


def test_a_manifest_in_pieces_is_read_as_one():
    store, state = stored(11, lost=(1,))
    write_views(store, make_manifest(store, state))
    manifest = read_manifest(store.views[MANIFEST_PATH], source="m")
    assert tuple(manifest.records) == held(11).records
    assert manifest.num_samples == 44


def test_a_manifest_without_receipts_has_the_columns():
    sink = io.BytesIO()
    with writing_manifest(make_manifest(LargeStore(3), DatasetState(LargeStore(3).plan, ())), sink):
        pass
    assert read_table(sink.getvalue()).column_names == schema_of(ShardRecord).names


def test_they_are_a_sequence_as_a_list_is():
    _, state = stored(11)
    records, whole = state.records, list(held(11).records)
    assert (len(records), list(records)) == (11, whole)
    assert [records[place] for place in (0, 3, 4, 10, -1, -11)] == [
        whole[place] for place in (0, 3, 4, 10, -1, -11)
    ]
    assert records[2:7:2] == whole[2:7:2]
    assert records == whole
    assert records != whole[1:]
    assert records.totals.num_samples == records.num_samples == 44
    for place in (11, -12):
        with pytest.raises(IndexError):
            records[place]


def test_a_manifest_of_them_is_dumped_like_one_of_a_list():
    store, state = stored(11)
    streamed = make_manifest(store, state)
    whole = make_manifest(store, held(11))
    assert streamed.model_dump(mode="json") == whole.model_dump(mode="json")
    assert (streamed.totals, streamed.splits) == (whole.totals, whole.splits)
    assert streamed == whole


def broken(_):
    return b"x"


def without_a_column(data):
    return encode_table(read_table(data).drop_columns("ignore_px"))


def another_path(data):
    table = read_table(data)
    place = table.schema.get_field_index("path")
    paths = ["data/train/../../../taxes.pdf", *table["path"].to_pylist()[1:]]
    return encode_table(table.set_column(place, "path", pa.array(paths)))


def no_coverage(data):
    table = read_table(data)
    place = table.schema.get_field_index("coverage")
    texts = pa.array(['{"agreement"'] * len(table))
    return encode_table(table.set_column(place, "coverage", texts))


def backwards(data):
    return encode_table(read_table(data).take(list(range(BLOCK))[::-1]))


@pytest.mark.parametrize("damage", [broken, without_a_column, another_path, no_coverage, backwards])
def test_a_snapshot_that_cannot_be_used_is_replaced_by_its_receipts(damage):
    store = LargeStore(11)
    read = store.read
    store.read = lambda path: (
        damage(read(path)) if path == receipts.path_of_block(1) else read(path)
    )
    assert list(find_stored_state(store).records) == list(held(11).records)


def test_a_snapshot_that_is_removed_meanwhile_is_not_needed():
    store, state = stored(11)
    store.snapshots.clear()
    assert list(state.records) == list(held(11).records)


def test_sizes_are_told_of_both_kinds_alike():
    _, state = stored(11, lost=(0,))
    assert list(sizes_of(state.records)) == list(sizes_of(held(11).records))
    assert [len(t) for t in tables_of(state.records)] == [
        len(t) for t in tables_of(held(11).records)
    ]


def test_columns_are_read_alone_of_snapshots_that_were_checked():
    names = ["path", "size_bytes"]
    store, state = stored(11)
    expected = [table.select(names) for table in tables_of(state.records)]
    read, whole, parts = store.read, [], []
    store.read = lambda path: (whole.append(path), read(path))[1]
    store.read_part = lambda path, offset, size: (
        parts.append(path),
        read(path)[offset : offset + size],
    )[1]
    assert list(state.records.columns(names)) == expected
    assert not [path for path in whole if path.startswith("snapshots/")]
    assert {Path(path).parent.name for path in parts} == {"snapshots"}
    store.snapshots.clear()  # removed meanwhile
    store.read_part = lambda *_: None
    assert list(state.records.columns(names)) == expected


PROGRAM = """
import resource, sys
from factory.dataset import receipts
receipts.BLOCK = 500
from large import LargeStore
from factory.dataset.stored_records import find_stored_state, sizes_of
from factory.dataset.views import finish_beside_others
from factory.dataset.sizes import check_sizes

for num_shards in (4000, 12000):
    store = LargeStore(num_shards)
    state = find_stored_state(store)
    assert len(finish_beside_others(store, state).records) == num_shards
    check_sizes(store, sizes_of(state.records))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_the_end_of_a_run_takes_no_more_memory_for_three_times_the_shards():
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    small, large = map(int, done.stdout.split())
    # 8,000 receipts that are held take 160 MiB; a manifest's row group and a snapshot take a few.
    assert large - small < 60, done.stdout
