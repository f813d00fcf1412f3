"""The lists of shards that `wids` reads: what no receipt says in them is told, and removed."""

import json

import pytest
from small_job import make_small

from factory.care.repair import find_repairs
from factory.care.verify import verify_dataset
from factory.manifest.paths import index_path
from factory.store import open_store

LIST = index_path()


def told(root):
    return [str(problem) for problem in verify_dataset(str(root)).problems]


def change(root, changed):
    """Write what `changed` makes of the list's entries."""
    document = json.loads((root / LIST).read_text())
    document["shardlist"] = changed(document["shardlist"])
    (root / LIST).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (lambda held: held[1:], "lacks 1 of 3 shards"),
        (lambda held: [*held, held[0]], "not a list of shards"),
        (lambda held: [3], "not a list of shards"),
        (lambda held: [], "lacks 3 of 3 shards"),
        (lambda held: {}, "not a list of shards"),
        (lambda held: [held[0] | {"nsamples": 4}, *held[1:]], "says of data/train/tiny-000000.tar"),
        (
            lambda held: [held[0] | {"url": "../../x.tar"}],
            "lists ../../x.tar, which has no receipt",
        ),
        (lambda held: [held[0] | {"url": []}], "not a list of shards"),
    ],
)
def test_a_list_that_lies_is_told_and_repaired(root, changed, found):
    change(root, changed)
    (problem,) = told(root)
    assert problem.startswith(f"{LIST}: {found}")
    (step,) = find_repairs(open_store(str(root)))
    step.do()
    assert told(root) == []


@pytest.mark.parametrize("data", [b"", b"junk", b"[" * 100_000, b" " * 20_000])
def test_junk_is_told(root, data):
    (root / LIST).write_bytes(data)
    (problem,) = told(root)
    assert problem.startswith(f"{LIST}: not a list of shards")


@pytest.mark.slow
def test_a_list_of_before_a_run_is_no_problem_beside_a_manifest_of_then(root):
    before = {name: (root / name).read_bytes() for name in (LIST, "manifest.parquet")}
    make_small(root.parent, {"dataset.num_samples": 19})
    after = (root / LIST).read_bytes()
    for name, data in before.items():
        (root / name).write_bytes(data)
    assert told(root) == []
    (root / LIST).write_bytes(after)
    assert told(root) == []
