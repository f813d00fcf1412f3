"""A command does its work, or says in one line why not, whatever its standard streams are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_job import make_small, small_document

import factory

pytestmark = pytest.mark.slow


def call(redirection, *words):
    """Run a command with standard streams as a shell's `redirection` makes them."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "factory", *words],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_makes_the_same_dataset(tmp_path, closed):
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(small_document(tmp_path)))
    assert call(closed, "run", str(job)).returncode == 0
    assert not factory.verify_dataset(str(tmp_path / "out"), deep=True).problems


def test_output_on_a_full_disk_is_one_line(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    make_small(tmp_path)
    told = call(">/dev/full", "status", str(tmp_path / "out"))
    assert told.returncode == 6
    assert told.stderr.rstrip() == (
        "error: standard output: no space left on device; free some space, or send the output elsewhere"
    )
    told = call(">/dev/full", "status", str(tmp_path / "out"), "--json")
    assert (told.returncode, json.loads(told.stderr)["error"]) == (6, "StoreError")
    assert call("2>/dev/full", "status", str(tmp_path / "nowhere")).returncode == 6
