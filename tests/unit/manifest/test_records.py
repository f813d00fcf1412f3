import io
import json

import pyarrow.parquet as pq
import pytest

from factory.errors import StoreError
from factory.manifest.coverage import Coverage
from factory.manifest.labels import ClassLabel, DatasetLabels, encode_labels, read_labels
from factory.manifest.paths import receipt_path
from factory.manifest.records import Manifest, ShardRecord, encode_record, read_record
from factory.manifest.table import encode_manifest, read_manifest


def a_record(shard_index=0, **changes):
    facts = {
        "dataset_id": "0123456789abcdef",
        "round_index": 0,
        "shard_index": shard_index,
        "path": f"data/train/tiny-{shard_index:06d}.tar",
        "first_index": 4 * shard_index,
        "num_indices": 4,
        "num_samples": 3,
        "num_rejected": {"confidence": 1, "class_2_too_small": 2},
        "num_members": 9,
        "size_bytes": 10_240,
        "sha256": "ab" * 32,
        "class_images": [3, 1],
        "class_px": [3000, 72],
        "confidence": [0.0, 0.25, 0.5, 0.75, 1.0],
        "wall_s": 0.1,
        "generate_s": 0.0,
        "device": "some processor",
        "worker": "host/1",
        "run_id": "host-1-00000000",
        "versions": {"torch": "2", "numpy": "1"},
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return ShardRecord(**(facts | changes))


def a_manifest(records=(), **changes):
    facts = {
        "name": "tiny",
        "dataset_id": "0123456789abcdef",
        "identity": {
            "generator": {"kind": "shapes", "weights_sha256": ""},
            "segmenter": {"kind": "kmeans", "sha256": "cd" * 32},
            "encode": {"image": "png"},
            "latents": {"classes": None, "truncation_psi": 1.0},
        },
        "meaning": DatasetLabels(
            labels=[
                ClassLabel(id=0, name="ground", colour=(1, 2, 3)),
                ClassLabel(id=1, name="disc", colour=(200, 100, 0)),
            ],
            generator_classes=[],
            attribution="",
            license="",
        ),
        "num_planned": 8,
        "records": list(records),
    }
    return Manifest(**(facts | changes))


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
            "f: not a receipt (21 problems); delete it and run the job again: its shard is checked "
            "and the receipt written anew",
        ),
        (
            read_labels,
            b'{"labels": 3}',
            "f: not a label table (4 problems); delete it and run the job again: it is written anew",
        ),
        (
            read_manifest,
            b"PAR1 and then nothing",
            "f: not a manifest (ArrowInvalid); delete it and run the job again: it is rebuilt from "
            "the receipts",
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
    with pytest.raises(StoreError, match=r"^f: not a manifest \(KeyError\)"):
        read_manifest(sink.getvalue(), source="f")


def test_a_manifest_with_any_flipped_byte_is_whole_or_refused():
    data = encode_manifest(a_manifest([a_record(0), a_record(1)]))
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x40
        try:
            read_manifest(bytes(damaged), source="f")
        except StoreError:
            continue
