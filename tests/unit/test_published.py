"""A published dataset tells no folder of its maker, and its job runs where its maker's files are not."""

import re
import shutil
from pathlib import Path

import pytest
from families import save_weights
from small_job import Witness, make_small
from typer.testing import CliRunner

from factory.care.replay import replay_sample
from factory.cli.app import app
from factory.cli.shared import load
from factory.errors import IncompleteError, WeightsError
from factory.job import run_job
from factory.store import open_store

GENERATOR = {"kind": "pggan"}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A dataset of somebody whose weights lie in a folder that is nobody's business."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    private = tmp_path / "home/anna/acme"
    private.mkdir(parents=True)
    weights = save_weights(private, "pggan_genforce_64").rename(private / "faces.pt")
    shared = tmp_path / "data"
    shared.mkdir()
    monkeypatch.chdir(shared)
    make_small(shared, {"dataset.generator": GENERATOR | {"weights": str(weights)}})
    return shared / "out", weights


def test_nothing_in_it_names_a_folder(made):
    root, _ = made
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 10
    telling = [path.name for path in files if re.search(rb"anna|acme", path.read_bytes())]
    assert telling == []


def test_its_maker_replays_and_grows_it_by_its_own_job(made):
    root, weights = made
    replay_sample(open_store(str(root)), "000000003")
    grown = CliRunner().invoke(app, ["grow", str(root), "+3", "--quiet"])
    assert grown.exit_code == 0, grown.output
    again = run_job(load(root / "job.yaml"), Witness())
    assert again.num_samples == again.num_planned == 16
    moved = weights.rename(weights.with_name("moved.pt"))
    with pytest.raises(WeightsError, match="faces"):
        replay_sample(open_store(str(root)), "000000003")
    shutil.copy(moved, root.parent / "faces.pt")  # beside the dataset, as its job says
    replay_sample(open_store(str(root)), "000000003")


def test_elsewhere_it_says_what_it_lacks_and_how_to_name_it(made, tmp_path, monkeypatch):
    root, weights = made
    shutil.copytree(root, tmp_path / "bob/copy")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other_cache"))
    monkeypatch.chdir(tmp_path / "bob")
    words = ["run", "copy/job.yaml", "-o", "new", "--quiet"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "no file '../faces.pt' in the job's folder, or else in" in refused.output
    assert "or name it: --set dataset.generator.weights=PATH" in refused.output
    assert "acme" not in refused.output
    found = weights.rename(tmp_path / "mine.pt")
    ran = CliRunner().invoke(app, [*words, "--set", f"dataset.generator.weights={found}"])
    assert ran.exit_code == 0, ran.output
    tars = [sorted((tmp_path / "bob" / name).glob("data/*/*.tar")) for name in ("copy", "new")]
    assert [one.read_bytes() for one in tars[0]] == [one.read_bytes() for one in tars[1]]
    replay_sample(open_store(str(tmp_path / "bob/copy")), "000000003")  # as the error said


def test_a_failure_that_is_kept_tells_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TELLTALE_ROOT", str(tmp_path / "out"))
    bad = {"dataset.generator": {"kind": "plugins.telltale:TellsPaths"}}
    with pytest.raises(IncompleteError):
        make_small(tmp_path, bad)
    kept = [path.read_text() for path in Path(tmp_path / "out/quarantine").rglob("*.json")]
    assert kept
    for text in kept:
        assert "no room in data/x.tar for ~/b.pt" in text
        assert str(tmp_path) not in text
