"""Datasets that older code made (`before/jobs.yaml` says which) are resumed, grown and made again.

The digests of `before/grown.json` are those of the shards that the same older code makes, on the
processor that made the datasets and, where its kernels compute other bytes, on others.
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
import yaml
from small_job import Witness

from factory.care.replay import regenerate_samples, replay_sample
from factory.care.verify import verify_dataset
from factory.dataset.state import find_state, load_stored_job
from factory.errors import StoreError
from factory.job import run_job
from factory.make.machine import device_name
from factory.manifest.records import read_record
from factory.spec.read import load_job
from factory.store import open_store

BEFORE = Path(__file__).parent / "before"
JOBS = yaml.safe_load((BEFORE / "jobs.yaml").read_text(encoding="utf-8"))
DIGESTS = json.loads((BEFORE / "grown.json").read_text(encoding="utf-8"))
MAKER = "AMD EPYC"
"""The processor that made them."""
RESUMED = [name for name, job in JOBS.items() if "grows_to" in job]
"""A fitted tree that a job names is not there any more: the dataset has what was made of it."""


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """Unpack a dataset of before into `out`, and stand where its job was run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(BEFORE / "labels.yaml", tmp_path)

    def unpack(name):
        with tarfile.open(BEFORE / f"{name}.tar.gz") as archive:
            archive.extractall(tmp_path / "out", filter="data")
        return open_store(str(tmp_path / "out"))

    return unpack


def run_of(name, **changes):
    """Run the job of before with today's code; the shards that it made."""
    document = {
        "name": "before",
        "dataset": JOBS[name]["dataset"] | changes,
        "run": {"executor": "inline"},
        "output": {"uri": "out"},
    }
    Path("job.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    witness = Witness()
    run_job(load_job(Path("job.yaml")), witness)
    return witness.records


def digests():
    return {
        path.relative_to("out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path("out/data").rglob("*.tar")
    }


def digests_grown(name):
    """What the older code makes on this processor when the dataset grows."""
    here, known = device_name(torch.device("cpu")), DIGESTS[name]
    elsewhere = known.get("grown_on", {})
    others = elsewhere.get(here, {})
    if elsewhere and here != MAKER and not others and digests() not in _of_any(known):
        pytest.skip(
            f"no digests of {here}: `before/make.py --grow` gives what the older code makes there"
        )
    return known["grown"] | others


def _of_any(known):
    return [known["grown"] | others for others in ({}, *known["grown_on"].values())]


def files_but_views():
    views = {"README.md", "manifest.parquet", "preview.png", "index/train.wids.json"}
    return {
        name: path.read_bytes()
        for path in Path("out").rglob("*")
        if path.is_file() and (name := path.relative_to("out").as_posix()) not in views
    }


@pytest.mark.parametrize("name", RESUMED)
def test_a_dataset_of_before_is_resumed_with_nothing_to_do(unpacked, name):
    unpacked(name)
    before = files_but_views()
    assert run_of(name) == []
    assert files_but_views() == before
    assert digests() == DIGESTS[name]["made"]


@pytest.mark.parametrize("name", RESUMED)
def test_a_dataset_of_before_grows_by_the_shards_that_the_old_code_makes(unpacked, name):
    store = unpacked(name)
    assert run_of(name, num_samples=JOBS[name]["grows_to"])
    assert digests() == digests_grown(name)
    assert len(DIGESTS[name]["grown"]) > len(DIGESTS[name]["made"])
    found = verify_dataset(store, deep=True)
    assert (found.num_shards, found.problems) == (len(DIGESTS[name]["grown"]), ())
    num_samples, differing = regenerate_samples(store, found.num_samples)
    assert num_samples == found.num_samples
    if DIGESTS[name]["grown"] == digests():
        assert not differing
    assert all(problem.found.endswith(f"(made on {MAKER})") for problem in differing)
    rounds = find_state(store).plan.rounds
    assert all(one.identity == rounds[0].identity for one in rounds)


@pytest.mark.parametrize("name", RESUMED)
def test_the_job_that_was_stored_then_is_read_now(unpacked, name):
    store = unpacked(name)
    kept = yaml.safe_load(store.read("job.yaml"))
    spec = load_stored_job(store)
    assert spec.dataset.segmenter.kind == kept["dataset"]["segmenter"]["kind"]
    assert "restarts" in str(kept) or name != "mixing", "it names a setting that is gone"


def test_receipts_of_the_first_layout_count_no_coverage_and_those_made_now_do(unpacked):
    store = unpacked("first_receipts")
    run_of("first_receipts", num_samples=13)
    versions = [record.schema_version for record in find_state(store).records]
    assert versions == [1, 1, 2, 2]
    assert [record.coverage is None for record in find_state(store).records] == [
        True, True, False, False,
    ]  # fmt: skip


def test_bytes_of_an_older_version_are_read_and_not_resumed(unpacked):
    store = unpacked("first_bytes")
    before = files_but_views()
    found = verify_dataset(store, deep=True)
    assert (found.num_samples, found.problems) == (3, ())
    for attempt in (
        lambda: run_of("first_bytes"),
        lambda: regenerate_samples(store, 1),
        lambda: replay_sample(store, "000000000"),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert str(caught.value) == (
            f"{store.uri}: an older maskfactory made it, with bytes of version 1; maskfactory 0.1.0 "
            "makes version 2: it can be read and checked, and commit 153132f of November 2026 can "
            "resume it; choose another output.uri"
        )
    assert files_but_views() == before


def changed(path, **facts):
    """Write other facts into a JSON file, as a newer version might."""
    document = json.loads(Path(path).read_text(encoding="utf-8"))
    Path(path).write_text(json.dumps(document | facts), encoding="utf-8")


def test_bytes_of_a_newer_version_are_not_resumed(unpacked):
    store = unpacked("kmeans")
    path = "out/plan/round-0000.json"
    identity = json.loads(Path(path).read_text(encoding="utf-8"))["identity"]
    changed(path, identity=identity | {"bytes_version": 3})
    for attempt in (lambda: run_of("kmeans"), lambda: regenerate_samples(store, 1)):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert str(caught.value) == (
            f"{store.uri}: a newer maskfactory made it, with bytes of version 3; maskfactory 0.1.0 "
            "makes version 2: update it, or choose another output.uri"
        )


@pytest.mark.parametrize(
    ("path", "newest"),
    [("plan/round-0000.json", 2), ("receipts/0000/000000.json", 2), ("labels.json", 1)],
)
@pytest.mark.parametrize("facts", [{}, {"of_tomorrow": 1}], ids=["same keys", "new key"])
def test_a_file_of_a_newer_layout_is_no_damage_and_says_what_to_do(unpacked, path, newest, facts):
    store = unpacked("kmeans")
    changed(f"out/{path}", schema_version=newest + 1, **facts)
    with pytest.raises(StoreError) as caught:
        run_of("kmeans")
    assert type(caught.value) is StoreError
    assert str(caught.value) == (
        f"{store.uri}/{path}: written by a newer maskfactory (layout {newest + 1}); this one, 0.1.0, "
        f"reads layouts up to {newest}; update it"
    )


def test_an_older_receipt_with_another_key_is_still_damage():
    with pytest.raises(StoreError, match="not a receipt"):
        read_record(b'{"schema_version": 1, "colour": 3}', source="f")
