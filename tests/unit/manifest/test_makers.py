import time
from collections import Counter

import pyarrow as pa
import pytest
from receipts import a_record

from factory.manifest.makers import (
    Maker,
    count_in_table,
    count_makers,
    describe_makers,
    find_makers,
    maker_of,
    name_makers,
    ranges,
)
from factory.manifest.parquet import read_table
from factory.manifest.table import encode_snapshot

NOW = {"torch": "2.13.0", "numpy": "2.4", "pillow": "12", "encoder": "ab", "kernels": "AVX2"}


def record(shard_index, device="some processor", **changes):
    return a_record(shard_index, device=device, versions=NOW | changes)


def table_of(records):
    return read_table(encode_snapshot(records), ["device", "versions"])


@pytest.mark.parametrize(
    "changes",
    [
        {"torch": "2.14.0"},
        {"numpy": "2.5"},
        {"pillow": "11"},
        {"zlib": "1.2"},
        {"encoder": "cd"},
        {"kernels": "AVX512"},
        {"maskfactory": "9"},
        {"device": "another processor"},
    ],
)
def test_what_can_change_a_byte_makes_another_maker(changes):
    records = [record(0, zlib="1.3", maskfactory="1"), record(1, zlib="1.3", maskfactory="1")]
    assert len(find_makers(records)) == 1
    records.append(record(2, **{"zlib": "1.3", "maskfactory": "1"} | changes))
    assert sorted(find_makers(records).values()) == [[0, 1], [2]]


def test_what_cannot_change_a_byte_makes_none():
    records = [
        record(0, python="3.11.1", safetensors="0.5"),
        record(1, python="3.11.2", safetensors="0.6"),
        a_record(2, device="some processor", versions=NOW, worker="elsewhere/7", run_id="x-1-2"),
    ]
    assert list(find_makers(records).values()) == [[0, 1, 2]]


def test_a_receipt_of_an_earlier_version_belongs_to_whom_it_agrees_with():
    early = {name: NOW[name] for name in ("torch", "numpy", "pillow")}
    records = [
        record(0),
        a_record(1, device="some processor", versions=early),
        a_record(2, device="some processor", versions=early | {"pillow": "11"}),
    ]
    assert sorted(find_makers(records).values()) == [[0, 1], [2]]


def test_an_adopted_shard_has_no_maker_and_agrees_with_nobody():
    makers = find_makers([record(0), a_record(1, device="unknown", versions={})])
    assert sorted(makers.values()) == [[0], [1]]
    assert makers[Maker(())] == [1]
    assert Maker(()).differences_to(maker_of("some processor", NOW)) == []


def test_each_maker_is_told_with_its_shards_and_with_what_differs_alone():
    makers = find_makers(
        [*(record(index) for index in (0, 1, 2, 7)), record(5, pillow="11", encoder="cd")]
    )
    assert describe_makers(makers) == [
        "shards 0-2, 7 (4): encoder ab, pillow 12",
        "shards 5 (1): encoder cd, pillow 11",
    ]


@pytest.mark.slow
def test_a_dataset_of_somebody_else_with_a_maker_for_each_shard_is_told_quickly_and_briefly():
    records = [record(index, pillow=str(index)) for index in range(20_000)]
    started = time.process_time()
    makers = find_makers(records)
    lines = describe_makers(makers)
    assert time.process_time() - started < 5
    assert len(makers) == 20_000
    assert lines[-1] == "19,992 shards of 19,992 more makers"
    assert len(name_makers(count_makers(records))) == 9


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([3], "3"),
        ([0, 1, 2, 3], "0-3"),
        ([0, 2, 3, 9], "0, 2-3, 9"),
    ],
)
def test_ranges_are_compact(numbers, text):
    assert ranges(numbers) == text


def test_a_long_list_of_ranges_ends_with_its_last_number():
    text = ranges(list(range(0, 1000, 2)))
    assert text.startswith("0, 2, 4, ")
    assert text.endswith("46, ... up to 998")


def test_a_snapshot_counts_as_its_receipts_do():
    records = [record(0), record(1), record(2, pillow="11"), record(3, device="another")]
    records.append(a_record(4, device="unknown", versions={}))
    assert count_in_table(table_of(records)) == count_makers(records)
    assert sum(count_in_table(table_of(records)).values()) == 5
    assert count_in_table(table_of([])) == Counter()


@pytest.mark.parametrize(
    "columns",
    [
        {"device": ["x"], "versions": ["no map"]},
        {"device": [[1]], "versions": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))},
        {
            "device": ["x"],
            "versions": pa.array([[("a", [1])]], pa.map_(pa.string(), pa.list_(pa.int64()))),
        },
    ],
)
def test_columns_of_another_kind_are_an_error_of_arrow(columns):
    with pytest.raises(pa.ArrowException):
        count_in_table(pa.table(columns))


def test_a_million_receipts_in_snapshots_are_counted_in_seconds():
    table = table_of([record(index, pillow=str(index % 3)) for index in range(5000)])
    started = time.process_time()
    counts = count_in_table(table)
    assert time.process_time() - started < 0.5  # 200 of them are a million
    assert sorted(counts.values()) == [1666, 1667, 1667]
