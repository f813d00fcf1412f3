"""Settings and steps on the command line."""

import pytest
from small_job import small_document
from typer.testing import CliRunner

from factory.cli.app import app
from factory.spec.yaml_text import dump_yaml

pytestmark = pytest.mark.slow


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """Runs a command in a folder with a small job; returns its exit code and all it says."""
    (tmp_path / "job.yaml").write_text(dump_yaml(small_document(tmp_path)))
    monkeypatch.chdir(tmp_path)

    def run(command):
        found = CliRunner().invoke(app, command.split())
        return found.exit_code, " ".join(found.output.split())

    return run


def test_steps_by_the_job_and_by_the_dataset_are_the_same_steps(factory):
    assert (
        "10 pairs in 2 shards" in factory("run job.yaml --set dataset.num_samples=+10 --once a")[1]
    )
    assert "10 pairs in 2 shards" in factory("grow out +10 --once a")[1]
    assert "15 pairs in 3 shards" in factory("grow out 5 --once b")[1]
    code, said = factory("plan job.yaml --set dataset.num_samples=+100 --once c")
    assert (code, "115 (15 made)" in said) == (0, True)
    assert "15 (15 made)" in factory("plan job.yaml --set dataset.num_samples=+5 --once b")[1]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run job.yaml --once a", "--once: found 'a', and nothing that is to be done once"),
        ("run job.yaml --set run", "--set: found 'run'; path=value, such as run.num_actors=4"),
        ("run job.yaml --set run.actors=3", "run.actors: unknown key"),
        ("plan job.yaml --set dataset.num_samples=+0", "found +0; a dataset grows by +1 to"),
        ("fit job.yaml --set dataset.num_samples=+5", "a fit makes no samples; use `factory run`"),
        ("grow out five", "+N: found 'five'; a number such as +1000"),
        ("grow out +5 --set dataset.num_samples=+5", "says by how much it grows; leave it out"),
        ("grow out +5 --set dataset.batch_size=4", "batch_size: 3 there, 4 in the job"),
    ],
)
def test_mistakes_are_one_line(factory, command, said):
    factory("run job.yaml")
    code, found = factory(command)
    assert said in found
    assert "Traceback" not in found
    assert code == (6 if "batch_size" in command else 2)
