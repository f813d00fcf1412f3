import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import TAR, change_receipt, rewrite
from receipts import LABELS, encode_manifest
from small_job import make_small

from factory.care.examine import examine_shard, missing_tables, orphan_problem
from factory.care.repair import find_repairs
from factory.care.verify import verify_dataset
from factory.dataset.expected import find_expected
from factory.dataset.state import find_state
from factory.errors import Problem
from factory.manifest.paths import MANIFEST_PATH
from factory.manifest.table import read_manifest
from factory.store import open_store


def examined(root, *, inside=True):
    store = open_store(str(root))
    state = find_state(store)
    record = state.records[1]
    task = state.plan.task(record.round_index, record.shard_index)
    return examine_shard(store, record, task, find_expected(store, state.plan) if inside else None)


def test_a_good_shard_has_no_problem_and_its_contents_are_given(root):
    found = examined(root)
    assert found.problems == ()
    assert len(found.contents.rows) == 5


def test_the_inside_is_looked_at_only_if_that_is_asked_for(root):
    rewrite(root, lambda members: [members[0], *members])
    assert examined(root, inside=False).problems == ()
    (problem,) = examined(root).problems
    assert problem.finding == "sample 000000005: one of its files is there twice"


def test_a_receipt_and_a_table_that_are_both_wrong_are_two_problems(root):
    change_receipt(root, class_px=[1, 2, 3, 4])
    (root / "meta/train/tiny-000001.parquet").unlink()
    assert [problem.kind for problem in examined(root).problems] == ["receipt", "table"]


def test_a_shard_without_a_table_is_known_from_the_names_alone(root):
    records = find_state(open_store(str(root))).records
    names = {f"meta/train/{Path(record.path).stem}.parquet" for record in records[1:]}
    assert [p.path for p in missing_tables(records, names)] == ["meta/train/tiny-000000.parquet"]
    assert orphan_problem(TAR).kind == "no_receipt"


@pytest.fixture
def held(root):
    """The manifest of the small dataset."""
    return read_manifest((root / MANIFEST_PATH).read_bytes(), source="x")


def told_of_manifest(root):
    store = open_store(str(root))
    assert verify_dataset(store, deep=True).problems == verify_dataset(store).problems
    return [problem.found for problem in verify_dataset(store).problems]


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b"x", b"PAR1 and then nothing PAR1"])
def test_junk_in_place_of_the_manifest_is_told_and_repaired(root, data):
    good = (root / MANIFEST_PATH).read_bytes()
    (root / MANIFEST_PATH).write_bytes(data)
    assert verify_dataset(str(root)).problems == (
        Problem(
            MANIFEST_PATH,
            "manifest",
            "not a manifest",
            "`factory repair` removes it; the next `run`, `merge` or `subset` writes it anew",
        ),
    )
    (step,) = find_repairs(open_store(str(root)))
    assert str(step.problem).endswith("not a manifest; remove it: the next run makes it again")
    step.do()
    assert told_of_manifest(root) == []
    make_small(root.parent)
    assert (root / MANIFEST_PATH).read_bytes() == good


def with_figures(manifest, **changes):
    first, *others = manifest.records
    return manifest.model_copy(update={"records": [first.model_copy(update=changes), *others]})


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: with_figures(manifest, class_px=[0, 0, 0, 1024]),
        lambda manifest: with_figures(manifest, size_bytes=1),
        lambda manifest: with_figures(manifest, shard_index=9),
        lambda manifest: manifest.model_copy(update={"num_planned": 99}),
        lambda manifest: manifest.model_copy(update={"dataset_id": "f" * 16}),
        lambda manifest: manifest.model_copy(update={"identity": {}}),
        lambda manifest: manifest.model_copy(update={"meaning": LABELS}),
    ],
)
def test_a_manifest_that_lies_is_told(root, held, change):
    (root / MANIFEST_PATH).write_bytes(encode_manifest(change(held)))
    assert told_of_manifest(root) == ["differs from plan, labels or receipts"]


def test_a_manifest_whose_columns_are_of_other_types_is_told(root, held):
    table = pq.read_table(io.BytesIO(encode_manifest(held)))
    place = table.schema.get_field_index("num_rejected")
    numbers = pa.array([7] * len(table), pa.int64())
    pq.write_table(table.set_column(place, "num_rejected", numbers), root / MANIFEST_PATH)
    assert told_of_manifest(root) == ["not a manifest"]


@pytest.mark.slow
def test_a_manifest_in_other_bytes_or_of_before_a_run_is_no_problem(root, held):
    table = pq.read_table(io.BytesIO(encode_manifest(held)))
    pq.write_table(table, root / MANIFEST_PATH, compression="none")
    assert told_of_manifest(root) == []
    (root / MANIFEST_PATH).write_bytes(encode_manifest(held))
    make_small(root.parent, {"dataset.num_samples": 19})
    (root / MANIFEST_PATH).write_bytes(encode_manifest(held))
    assert told_of_manifest(root) == []
    (root / MANIFEST_PATH).write_bytes(encode_manifest(with_figures(held, size_bytes=7)))
    assert told_of_manifest(root) == ["differs from plan, labels or receipts"]
    (root / MANIFEST_PATH).write_bytes(encode_manifest(held))
    for path in (TAR, "receipts/0000/000001.json", "meta/train/tiny-000001.parquet"):
        (root / path).unlink()
    assert told_of_manifest(root) == [f"lists {TAR}, which has no receipt"]
    (step,) = find_repairs(open_store(str(root)))
    step.do()
    assert told_of_manifest(root) == []
    make_small(root.parent, {"dataset.num_samples": 19})
    assert told_of_manifest(root) == []
    again = read_manifest((root / MANIFEST_PATH).read_bytes(), source="x")
    assert TAR in {record.path for record in again.records}
