"""A job that came with a dataset is data: it runs no program unless a person says so."""

import shutil
import sys

import pytest
from typer.testing import CliRunner

from factory.care.replay import regenerate_samples, replay_sample
from factory.cli.app import app
from factory.dataset.state import load_stored_job
from factory.errors import PluginError
from factory.store import open_store

HELPER = """
from pathlib import Path
Path(__file__).with_name("RAN").touch()
from factory.generate.shapes import ShapesGenerator as G
"""


@pytest.fixture
def hostile(root, monkeypatch):
    """A dataset whose job names a program that lies beside it, entered by whoever looks at it."""
    job = root / "job.yaml"
    job.write_text(job.read_text().replace("kind: shapes", "kind: helper:G"))
    (root / "helper.py").write_text(HELPER)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield root
    sys.modules.pop("helper", None)


@pytest.mark.parametrize(
    "command",
    [
        ["verify", ".", "--regenerate", "1"],
        ["replay", ".", "000000000"],
        ["eval", "masks", ".", "--reference", "generator"],
        ["run", "job.yaml"],
        ["fit", "job.yaml"],
        ["plan", "job.yaml"],
    ],
    ids=lambda words: words[0],
)
def test_no_command_runs_a_program_that_a_dataset_names(hostile, command):
    result = CliRunner().invoke(app, command)
    assert result.exit_code == PluginError.exit_code, result.output
    assert "dataset.generator.kind: names the program 'helper:G'" in result.output
    assert not (hostile / "RAN").exists()


def test_a_person_who_knows_the_program_can_have_it_run(hostile):
    result = CliRunner().invoke(app, ["verify", ".", "--regenerate", "1", "--trust-plugins"])
    assert (hostile / "RAN").exists(), result.output


def test_the_job_under_another_name_is_the_dataset_s_all_the_same(hostile):
    shutil.copy("job.yaml", "looks_harmless.yaml")
    result = CliRunner().invoke(app, ["run", "looks_harmless.yaml"])
    assert result.exit_code == PluginError.exit_code
    assert "use a copy of the job outside of the dataset" in result.output


def test_a_module_beside_a_dataset_is_not_found_without_trust(root, monkeypatch):
    (root / "onnxruntime_of_an_attacker.py").write_text("")
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    CliRunner().invoke(app, ["verify", ".", "--regenerate", "1"])
    assert "" not in sys.path


@pytest.mark.parametrize(
    "line", ["detector: evil:find", "kind: evil:Segmenter"], ids=lambda line: line.partition(":")[0]
)
def test_programs_are_found_wherever_a_job_can_name_one(root, line):
    (root / "job.yaml").write_text(
        "name: t\ndataset:\n  segmenter:\n    teacher:\n      instances:\n        " + line + "\n"
    )
    store = open_store(str(root))
    with pytest.raises(PluginError, match=r"dataset\.segmenter\.teacher\.instances"):
        load_stored_job(store)
    with pytest.raises(PluginError):
        regenerate_samples(store, 1)
    with pytest.raises(PluginError):
        replay_sample(store, "000000000")
