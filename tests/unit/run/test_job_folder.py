"""A dataset's own job runs wherever the dataset lies, with the files that lie beside it."""

import logging
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image
from small_job import Witness, make_small

from factory.cli.shared import load
from factory.errors import DamageError, PluginError
from factory.job import run_job
from factory.run.calibrate import calibrate
from factory.spec.changes import read_changes


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A dataset whose backgrounds are gone meanwhile."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "skies").mkdir()
    Image.new("RGB", (64, 64), (90, 140, 230)).save(folder / "skies/blue.png")
    backgrounds = {"background": "folder", "folder": str(folder / "skies")}
    make_small(folder, {"dataset.compose": backgrounds | {"classes": ["cluster_01"]}})
    shutil.rmtree(folder / "skies")
    return folder / "out"


@pytest.fixture
def copied(original, tmp_path, monkeypatch):
    """A copy of it, on a machine that has fitted nothing; commands run in an empty folder."""
    shutil.copytree(original, tmp_path / "copy")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "copy"


def change_job(root, change):
    document = yaml.safe_load((root / "job.yaml").read_text())
    change(document)
    (root / "job.yaml").write_text(yaml.safe_dump(document))


def run(job, *settings):
    witness = Witness()
    return run_job(load(job, read_changes(list(settings))), witness), witness


def shards(root):
    return {path.name: path.read_bytes() for path in sorted(root.glob("data/*/*.tar"))}


def test_the_job_of_a_copy_makes_the_same_bytes_elsewhere_without_a_fit(copied):
    _, witness = run(Path("../copy/job.yaml"), "output.uri=elsewhere")
    assert shards(Path("elsewhere")) == shards(copied)
    assert len(shards(copied)) == 3
    assert witness.fitted == []
    again, _ = run(Path("elsewhere/job.yaml"))
    assert again.num_samples == again.num_planned == 13


def test_the_copy_itself_grows_and_nothing_else_is_written(copied):
    before = shards(copied)
    changes = read_changes(["dataset.num_samples=+5"])
    manifest = run_job(load(copied / "job.yaml", changes), Witness(), add=changes.add)
    assert manifest.num_samples == 18
    assert before.items() <= shards(copied).items()
    assert run(copied / "job.yaml")[0].num_samples == 18, "the job is of the time before"
    assert list(Path.cwd().iterdir()) == []
    assert run(copied / "job.yaml", "output.uri=again")[0].num_samples == 18


def test_planning_it_forecasts_no_fit(copied, monkeypatch):
    monkeypatch.setattr("factory.run.calibrate.check_folder_of_backgrounds", lambda _: None)
    monkeypatch.setattr("factory.run.calibrate.given_composer", lambda *_: None)
    assert calibrate(load(copied / "job.yaml"))["fit_s"] == 0


def test_a_job_that_was_changed_fits_its_own_segmenter_and_says_what_differs(copied, caplog):
    caplog.set_level(logging.WARNING)
    _, witness = run(
        copied / "job.yaml",
        "output.uri=changed",
        "dataset.latents.seed=7",
        "dataset.compose=null",
    )
    assert witness.fitted[0][0] == "sampling"
    assert "the job was changed" in caplog.text
    assert "compose.background: 'folder' there, 'absent' in the job" in caplog.text


def test_a_damaged_segmenter_beside_the_job_is_told_and_not_replaced_by_a_fit(copied):
    (copied / "segmenter.safetensors").write_bytes(b"other")
    with pytest.raises(DamageError, match=r"segmenter\.safetensors: sha256 .* the plan says"):
        run(copied / "job.yaml", "output.uri=elsewhere")
    assert not Path("elsewhere/plan").exists()


def test_a_copy_of_the_job_alone_is_a_job_like_any_other(copied, caplog):
    caplog.set_level(logging.WARNING)
    shutil.copy(copied / "job.yaml", "mine.yaml")
    _, witness = run(Path("mine.yaml"), "output.uri=mine", "dataset.compose=null")
    assert witness.fitted
    assert "holds no dataset" in caplog.text


def test_a_stored_job_opens_no_dataset_but_its_own_and_writes_to_no_other(copied, tmp_path):
    victim = tmp_path / "victim"
    shutil.copytree(copied, victim)
    before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    change_job(copied, lambda job: job.update(beside=str(victim)))
    change_job(copied, lambda job: job["output"].update(uri=str(victim)))
    spec = load(copied / "job.yaml")
    assert (spec.beside, spec.output.uri) == (str(copied), str(copied))
    run(copied / "job.yaml", "dataset.num_samples=16")
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before
    assert len(shards(copied)) == 4


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("generator", "kind", "os:system"), ("run", "address", "ray://elsewhere:1")],
)
def test_a_copied_stored_job_runs_no_program_and_joins_no_cluster(copied, section, name, value):
    def change(job):
        (job if section == "run" else job["dataset"])[section][name] = value

    change_job(copied, change)
    with pytest.raises(PluginError, match="a job that lies in a dataset"):
        run(copied / "job.yaml", "output.uri=elsewhere")
    assert not Path("elsewhere").exists()
