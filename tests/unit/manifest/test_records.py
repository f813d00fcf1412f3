import io
import json

import pyarrow.parquet as pq
import pytest
from receipts import a_manifest, a_record, encode_manifest

from factory.errors import StoreError
from factory.manifest.coverage import Coverage
from factory.manifest.labels import encode_labels, read_labels
from factory.manifest.paths import receipt_path
from factory.manifest.records import ShardRecord, encode_record, read_record
from factory.manifest.table import read_manifest


def test_a_receipt_gives_its_record_back():
    record = a_record()
    assert read_record(encode_record(record), source="x") == record
    assert encode_record(record).endswith(b"\n")


def test_a_receipt_of_the_first_version_is_read_and_has_no_coverage():
    document = json.loads(encode_record(a_record())) | {"schema_version": 1}
    del document["coverage"]
    record = read_record(json.dumps(document).encode(), source="x")
    assert (record.schema_version, record.coverage) == (1, None)
    assert a_record().schema_version == 2


def test_coverage_goes_through_receipt_and_manifest(tmp_path):
    record = a_record(coverage=Coverage(kept={-1: 3}, area={-1: [[0, 3]]}, hashes=[("0" * 16, 3)]))
    assert read_record(encode_record(record), source="x") == record
    assert encode_record(record).count(b"\n") == len(ShardRecord.model_fields) + 2
    manifest = a_manifest([record, a_record(1)])
    assert read_manifest(encode_manifest(manifest), source="x") == manifest


def test_a_label_table_gives_its_labels_back():
    meaning = a_manifest().meaning
    assert read_labels(encode_labels(meaning), source="x") == meaning


def test_a_manifest_gives_everything_back_in_shard_order():
    manifest = a_manifest([a_record(2), a_record(0, num_rejected={}), a_record(1)])
    again = read_manifest(encode_manifest(manifest), source="x")
    assert [record.shard_index for record in again.records] == [0, 1, 2]
    ordered = sorted(manifest.records, key=lambda record: record.shard_index)
    assert again == manifest.model_copy(update={"records": ordered})


def test_a_manifest_without_shards_is_one_too():
    assert read_manifest(encode_manifest(a_manifest()), source="x") == a_manifest()


def test_any_parquet_reader_finds_a_row_for_each_shard():
    table = pq.read_table(io.BytesIO(encode_manifest(a_manifest([a_record(0), a_record(1)]))))
    assert table.num_rows == 2
    assert set(table.column_names) == set(ShardRecord.model_fields)
    head = json.loads(table.schema.metadata[b"factory"])
    assert head["dataset_id"] == "0123456789abcdef"


def test_samples_are_counted_over_all_shards():
    assert a_manifest([a_record(0), a_record(1, num_samples=1)]).num_samples == 4


def test_receipts_are_filed_by_round_and_shard():
    assert receipt_path(1, 23) == "receipts/0001/000023.json"


@pytest.mark.parametrize(
    ("read", "data", "text"),
    [
        (
            read_record,
            b"{}",
            "f: not a receipt (21 problems); `factory repair` removes it; then run the job again: its "
            "shard is checked and the receipt written anew",
        ),
        (
            read_labels,
            b'{"labels": 3}',
            "f: not a label table (4 problems); delete it and run the job again: it is written anew",
        ),
        (
            read_manifest,
            b"PAR1 and then nothing",
            "f: not a manifest; delete it and run the job again: it is rebuilt from the receipts",
        ),
    ],
)
def test_a_damaged_file_is_told_with_its_name_and_the_cure(read, data, text):
    with pytest.raises(StoreError) as caught:
        read(data, source="f")
    assert str(caught.value) == text


def test_a_receipt_of_another_version_is_refused():
    data = encode_record(a_record()).replace(b'"worker"', b'"colour"')
    with pytest.raises(StoreError, match="not a receipt"):
        read_record(data, source="f")


def test_a_parquet_file_that_is_no_manifest_is_refused():
    table = pq.read_table(io.BytesIO(encode_manifest(a_manifest()))).replace_schema_metadata({})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    with pytest.raises(StoreError, match=r"^f: not a manifest;"):
        read_manifest(sink.getvalue(), source="f")


@pytest.mark.slow
def test_a_manifest_with_any_flipped_byte_is_whole_or_refused():
    data = encode_manifest(a_manifest([a_record(0), a_record(1)]))
    for place in range(0, len(data), 29):
        damaged = bytearray(data)
        damaged[place] ^= 0x40
        try:
            read_manifest(bytes(damaged), source="f")
        except StoreError:
            continue
