from pathlib import Path

from damage import TAR, change_receipt, rewrite

from factory.care.examine import examine_shard, missing_tables, orphan_problem
from factory.dataset.expected import find_expected
from factory.dataset.state import find_state
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
