"""How the command's process ends after a signal."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from factory.__main__ import main

START = "import os, signal, sys, threading; import factory.__main__ as command"
ENDS = {
    "a thread that computes": "threading.Thread(target=threading.Event().wait).start(); sys.exit(75)",
    "one more Ctrl+C": "sys.exit(75)",
}
LATE = "import atexit; atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))"


@pytest.mark.slow
@pytest.mark.parametrize("end", list(ENDS))
def test_a_run_that_was_stopped_ends_with_75_whatever_comes_then(end):
    lines = [START, LATE, f"def app(): {ENDS[end]}", "command.app = app", "command.main()"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (75, "")


@pytest.mark.slow
def test_any_other_end_is_left_as_it_is():
    lines = [START, "def app(): sys.exit(2)", "command.app = app", "command.main()"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False)
    assert done.returncode == 2


def test_it_is_what_is_installed_as_the_command():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["scripts"] == {"factory": f"{main.__module__}:main"}
