"""`verify` and `repair` agree on what is wrong, and after the repair and a run nothing is."""

import json
import shutil

import pytest
from damage import TAR, change_receipt, replaced, rewrite
from small_job import make_small
from typer.testing import CliRunner

from factory.care.repair import find_repairs
from factory.care.verify import verify_dataset
from factory.cli.app import app
from factory.manifest.parquet import encode_table, read_table
from factory.manifest.paths import MANIFEST_PATH, SEGMENTER_PATH
from factory.pack.tar import read_members
from factory.store import open_store

KEY = "000000006"
TABLE = "meta/train/tiny-000001.parquet"
RECEIPT = "receipts/0000/000001.json"
SNAPSHOT = "snapshots/000000-004999.parquet"


def cut(root):
    (root / TAR).write_bytes((root / TAR).read_bytes()[:-700])


def flip(root):
    data = bytearray((root / TAR).read_bytes())
    data[600] ^= 1
    (root / TAR).write_bytes(data)


def link_nowhere(root):
    (root / TAR).unlink()
    (root / TAR).symlink_to(root / "nowhere.tar")


def write_twice(root):
    """One file of a sample twice, one after the other."""
    rewrite(root, lambda members: [members[0], *members])


def repeat_a_key(root):
    rewrite(root, lambda members: [*members, *members[:3]])


def wrong_index(root):
    data = dict(read_members(root / TAR))[f"{KEY}.json"]
    facts = json.loads(data) | {"index": 7}
    rewrite(root, replaced(f"{KEY}.json", json.dumps(facts).encode()))


def misfile(root):
    shutil.copy(root / RECEIPT, root / "receipts/0000/000007.json")


def orphan_and_damage(root):
    (root / RECEIPT).unlink()
    cut(root)


def swap_tables(root):
    shutil.copy(root / TABLE.replace("1.p", "0.p"), root / TABLE)


def change_table(root, change):
    table = change(read_table((root / TABLE).read_bytes()))
    (root / TABLE).write_bytes(encode_table(table))


def add_snapshot(root):
    (root / "snapshots").mkdir()
    (root / SNAPSHOT).write_bytes(b"PAR1 no")


DAMAGES = {
    "missing tar": lambda root: (root / TAR).unlink(),
    "empty tar": lambda root: (root / TAR).write_bytes(b""),
    "cut tar": cut,
    "flipped bit": flip,
    "tar is a link to nothing": link_nowhere,
    "file twice": write_twice,
    "key twice": repeat_a_key,
    "sample without mask": lambda root: rewrite(
        root, lambda ms: [m for m in ms if m[0] != f"{KEY}.mask.png"]
    ),
    "files in another order": lambda root: rewrite(root, lambda ms: [ms[1], ms[0], *ms[2:]]),
    "picture that does not open": lambda root: rewrite(root, replaced(f"{KEY}.image.png", b"no")),
    "stranger in the tar": lambda root: rewrite(root, lambda ms: [*ms, ("notes.txt", b"hello")]),
    "sample less": lambda root: rewrite(root, lambda ms: ms[:-3]),
    "facts of another sample": wrong_index,
    "receipt counts other files": lambda root: change_receipt(root, num_members=14),
    "receipt counts other pixels": lambda root: change_receipt(root, class_px=[1, 2, 3, 4]),
    "receipt counts other images": lambda root: change_receipt(root, class_images=[5, 5, 5, 4]),
    "receipt of other bytes": lambda root: change_receipt(root, sha256="ab" * 32),
    "receipt names another tar": lambda root: change_receipt(root, path="../thesis.txt"),
    "empty receipt": lambda root: (root / RECEIPT).write_bytes(b""),
    "receipt is no JSON": lambda root: (root / RECEIPT).write_bytes(b"\xff{"),
    "receipt under another name": misfile,
    "stranger among receipts": lambda root: (root / "receipts/0000/notes.txt").write_text("x"),
    **{
        f"stranger among receipts, named {name!r}": lambda root, name=name: (
            root / "receipts/0000" / name
        ).write_text("x")
        for name in ("\x1b[31m.json", "x?key=value.json", "\u202e.json", "me:you@host.json")
    },
    "missing table": lambda root: (root / TABLE).unlink(),
    "empty table": lambda root: (root / TABLE).write_bytes(b""),
    "table of another shard": swap_tables,
    "table with a column twice": lambda root: change_table(
        root, lambda table: table.append_column("index", table["index"])
    ),
    "table whose keys are numbered": lambda root: change_table(
        root, lambda table: table.set_column(0, "key", table["key"].dictionary_encode())
    ),
    "orphan": lambda root: (root / RECEIPT).unlink(),
    "damaged orphan": orphan_and_damage,
    "broken snapshot": add_snapshot,
    "manifest is no table": lambda root: (root / MANIFEST_PATH).write_bytes(b"PAR1 no"),
    "empty segmenter": lambda root: (root / SEGMENTER_PATH).write_bytes(b""),
    "other segmenter": lambda root: (root / SEGMENTER_PATH).write_bytes(b"no tensors"),
    "missing segmenter": lambda root: (root / SEGMENTER_PATH).unlink(),
    "receipt and table": lambda root: (
        change_receipt(root, class_px=[1, 2, 3, 4]),
        (root / TABLE).unlink(),
    ),
}


def places(problems):
    return {(problem.path, problem.kind) for problem in problems}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_what_verify_finds_repair_puts_right(root, tmp_path, name):
    DAMAGES[name](root)
    store = open_store(str(root))
    found = verify_dataset(store, deep=True).problems
    steps = find_repairs(store)
    assert found
    assert places(step.problem for step in steps) == places(found)
    # A manifest is held only against receipts that nothing else is wrong with, as far as one looks.
    shallow = {place for place in places(verify_dataset(store).problems) if place[1] != "manifest"}
    assert shallow <= places(found)
    told = {(p.path, p.kind): p for p in reversed(found)}
    for step in steps:
        problem = step.problem
        assert problem.remedy
        if problem.kind != "no_receipt":  # only `repair` looks into an orphan
            # Pillow's errors name objects by their address.
            texts = [
                p.finding.partition("<")[0] for p in (problem, told[problem.path, problem.kind])
            ]
            assert texts[0] == texts[1]
        if "`factory repair`" in told[problem.path, problem.kind].remedy:
            assert step.do is not None
        if step.do is not None:
            step.do()
    make_small(tmp_path)
    assert verify_dataset(store, deep=True, regenerate=13).problems == ()
    assert find_repairs(store) == []


def test_a_stray_tar_is_told_by_both_and_removed_by_neither(root):
    shutil.copy(root / TAR, root / "data/train/extra.tar")
    store = open_store(str(root))
    (found,) = verify_dataset(store).problems
    (step,) = find_repairs(store)
    assert step.problem == found
    assert step.do is None
    assert str(found).startswith("data/train/extra.tar: no receipt names it; ")
    result = CliRunner().invoke(app, ["repair", str(root), "--yes", "--json"])
    assert json.loads(result.stdout)[0]["done"] is False
    assert (root / "data/train/extra.tar").exists()
    CliRunner().invoke(app, ["gc", str(root), "--yes", "--older-than-h", "0"])
    assert verify_dataset(store).problems == ()


def test_a_missing_table_is_found_without_reading_the_tars(root):
    (root / TABLE).unlink()
    (problem,) = verify_dataset(open_store(str(root))).problems
    assert str(problem) == f"{TABLE}: missing; `factory repair` rebuilds it"
