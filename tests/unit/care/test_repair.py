import json
import os
import shutil
import time
from dataclasses import replace

import pytest
from small_job import make_small

from factory.care.repair import find_garbage, find_repairs
from factory.care.verify import verify_dataset
from factory.dataset.quarantine import find_quarantined
from factory.dataset.receipts import find_record
from factory.dataset.state import find_plan
from factory.errors import IncompleteError, Problem
from factory.manifest.paths import receipt_path
from factory.pack.facts import read_sidecar
from factory.pack.tar import ShardWriter, read_members
from factory.store import open_store

TAR = "data/train/tiny-000001.tar"
TABLE = "meta/train/tiny-000001.parquet"
RECEIPT = "receipts/0000/000001.json"


@pytest.fixture
def store(root):
    return open_store(str(root))


def steps_of(steps):
    return [str(step.problem) for step in steps]


def do(steps):
    for step in steps:
        step.do()


def problems_of(store):
    return [str(problem) for problem in verify_dataset(store, deep=True).problems]


def without_cells(table):
    rows = read_sidecar(table)
    return [(facts, measures.model_copy(update={"latent_cell": -1})) for facts, measures in rows]


def flip(path, place=700):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_whole_dataset_needs_nothing(store):
    assert find_repairs(store) == []
    assert find_garbage(store, 0.0) == []


def test_a_whole_tar_without_a_receipt_gets_one_that_tells_what_can_be_known(store, root):
    before = json.loads((root / RECEIPT).read_text())
    table = (root / TABLE).read_bytes()
    (root / RECEIPT).unlink()
    (root / TABLE).unlink()
    steps = find_repairs(store)
    assert steps_of(steps) == [f"{TAR}: whole, but without a receipt; write its receipt"]
    assert not (root / RECEIPT).exists()
    do(steps)
    after = json.loads((root / RECEIPT).read_text())
    unknown = {"device", "worker", "run_id", "wall_s", "generate_s", "versions", "finished_at"}
    for record in (before, after):  # without the generator nobody knows where latents lay
        record["coverage"].pop("cells")
    assert {k: v for k, v in after.items() if k not in unknown} == {
        k: v for k, v in before.items() if k not in unknown
    }
    assert (after["device"], after["versions"]) == ("unknown", {})
    assert without_cells((root / TABLE).read_bytes()) == without_cells(table)
    assert problems_of(store) == []


def test_a_run_adopts_a_whole_tar_without_making_it_again(store, root):
    (root / RECEIPT).unlink()
    stat = (root / TAR).stat()
    make_small(root.parent)
    assert (root / TAR).stat().st_mtime_ns == stat.st_mtime_ns
    assert json.loads((root / RECEIPT).read_text())["device"] == "unknown"
    assert problems_of(store) == []


def test_a_tar_of_other_bytes_that_is_whole_is_adopted_as_it_is(store, root):
    """Somebody's other libraries may have encoded it; its pixels are what counts."""
    (root / RECEIPT).unlink()
    members = list(read_members(root / TAR))
    facts = json.loads(members[2][1])
    members[2] = (members[2][0], (json.dumps(facts, indent=1)).encode())
    (root / TAR).unlink()
    with ShardWriter(root / TAR) as writer:
        writer.add(members)
        packed = writer.finish()
    make_small(root.parent)
    record = find_record(store, next(t for t in find_plan(store).tasks() if t.shard_index == 1))
    assert record.sha256 == packed.sha256
    assert problems_of(store) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", [3, 150, 700, -700, -1])
def test_a_damaged_tar_without_a_receipt_is_never_adopted_and_repair_removes_it(store, root, place):
    whole = (root / TAR).read_bytes()
    (root / RECEIPT).unlink()
    flip(root / TAR, place)
    with pytest.raises(IncompleteError, match="there without a receipt, and damaged"):
        make_small(root.parent)
    assert [failure.name for failure in find_quarantined(store)] == ["tiny-000001"]
    (step,) = find_repairs(store)
    assert (step.problem.path, step.problem.kind) == (TAR, "no_receipt")
    assert step.problem.found.startswith("no receipt, and damaged (")
    assert step.problem.remedy == "remove it, then run the job again"
    step.do()
    assert not (root / TAR).exists()
    assert find_quarantined(store) == []
    make_small(root.parent)
    assert (root / TAR).read_bytes() == whole
    assert problems_of(store) == []


def test_repair_removes_no_tar_that_has_got_a_receipt_meanwhile(store, root):
    receipt = (root / RECEIPT).read_bytes()
    (root / RECEIPT).unlink()
    flip(root / TAR)
    steps = find_repairs(store)
    (root / RECEIPT).write_bytes(receipt)
    do(steps)
    assert (root / TAR).exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_shard_that_is_not_what_its_receipt_says_is_taken_out_and_made_again(store, root, damage):
    whole = (root / TAR).read_bytes()
    (root / TAR).unlink() if damage == "missing" else flip(root / TAR)
    (told,) = verify_dataset(store).problems
    assert told.kind == {"missing": "missing", "flipped": "changed"}[damage]
    steps = find_repairs(store)
    remedy = "remove its receipt and itself, then run the job again"
    assert [step.problem for step in steps] == [replace(told, remedy=remedy)]
    do(steps)
    assert not (root / RECEIPT).exists()
    assert problems_of(store) == []  # no manifest lists the shard any more
    make_small(root.parent)
    assert (root / TAR).read_bytes() == whole
    assert problems_of(store) == []


def test_a_lost_or_wrong_table_is_rebuilt(store, root):
    table = (root / TABLE).read_bytes()
    shutil.copy(root / "meta/train/tiny-000000.parquet", root / TABLE)
    found = f"not the table of the samples in {TAR}"
    assert verify_dataset(store, deep=True).problems == (
        Problem(TABLE, "table", found, "`factory repair` rebuilds it"),
    )
    steps = find_repairs(store)
    assert steps_of(steps) == [f"{TABLE}: {found}; rebuild it from its tar"]
    do(steps)
    assert without_cells((root / TABLE).read_bytes()) == without_cells(table)


def test_clearing_takes_what_no_receipt_names_and_only_if_it_is_old(store, root):
    (root / RECEIPT).unlink()
    (root / "tmp/dead-run").mkdir(parents=True)
    (root / "tmp/dead-run/half.tar").write_bytes(b"half")
    (root / "data/train/stranger.tar").write_bytes(b"?")
    assert find_garbage(store, 3600.0) == []
    steps = find_garbage(store, 0.0)
    assert steps_of(steps) == [
        "tmp/dead-run/half.tar: unfinished; remove it",
        "data/train/stranger.tar: no receipt names it; remove it",
        f"{TAR}: no receipt names it; remove it",
        f"{TABLE}: no receipt names it; remove it",
    ]
    do(steps)
    assert not (root / "tmp").exists()
    assert find_garbage(store, 0.0) == []
    make_small(root.parent)
    assert problems_of(store) == []


def test_what_is_younger_than_the_limit_stays(store, root):
    (root / RECEIPT).unlink()
    long_ago = time.time() - 7200
    os.utime(root / TABLE, (long_ago, long_ago))
    assert [step.problem.path for step in find_garbage(store, 3600.0)] == [TABLE]


def test_clearing_leaves_a_tar_that_has_got_its_receipt_meanwhile(store, root):
    receipt = (root / RECEIPT).read_bytes()
    (root / RECEIPT).unlink()
    steps = find_garbage(store, 0.0)
    (root / RECEIPT).write_bytes(receipt)
    do(steps)
    assert problems_of(store) == []


def test_failures_of_shards_that_were_made_after_all_are_cleared(store):
    store.create("attempts/0000/000001-1.json", b"{}")
    store.create("attempts/0000/000077-1.json", b"{}")
    steps = find_garbage(store, 0.0)
    assert steps_of(steps) == [
        "attempts/0000/000001-1.json: its shard was made after all; remove it"
    ]


def test_a_snapshot_goes_whatever_its_name(store):
    names = ["snapshots/a", "snapshots/a: b; c.parquet", "snapshots/a\x1b"]
    for name in names:
        store.replace(name, b"x")
    steps = {step.problem.path: step for step in find_repairs(store)}
    assert set(steps) == set(names)
    assert str(steps[names[2]].problem).startswith("snapshots/a\\x1b: not a snapshot")
    steps[names[1]].do()
    steps[names[2]].do()
    assert store.names("snapshots") == names[:1]


def test_a_snapshot_that_differs_goes(store, monkeypatch):
    monkeypatch.setattr("factory.dataset.receipts.BLOCK", 2)
    store.replace("snapshots/000000-000001.parquet", b"x")
    (step,) = find_repairs(store)
    assert str(step.problem) == (
        "snapshots/000000-000001.parquet: not a snapshot; remove it: the next run makes it again"
    )
    step.do()
    assert store.names("snapshots") == []
    assert find_record(store, next(find_plan(store).rounds[0].tasks())) is not None
    assert store.size_of(receipt_path(0, 0)) is not None
