"""What a person at a terminal sees, and what a log file gets."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from receipts import a_record
from small_job import small_document

from factory.run.progress import BarObserver


def run_small(folder: Path, stderr: int) -> None:
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(small_document(folder)))
    command = [sys.executable, "-m", "factory", "run", str(job)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=stderr, timeout=60)


@pytest.mark.slow
def test_a_terminal_gets_a_bar_with_rate_and_time_left(tmp_path: Path) -> None:
    reader, writer = pty.openpty()
    run_small(tmp_path, writer)
    os.close(writer)
    shown = b""
    try:
        while piece := os.read(reader, 1 << 16):
            shown += piece
    except OSError:
        pass  # Linux says so when the other end is closed
    os.close(reader)
    text = shown.decode()
    assert "13/13" in text
    assert "pairs/s" in text
    assert "0:00:00" in text
    assert "shard_committed" not in text


@pytest.mark.slow
def test_a_file_gets_one_line_per_event(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        run_small(tmp_path, file.fileno())
    lines = log.read_text().splitlines()
    commits = [line for line in lines if "shard_committed" in line]
    assert len(commits) == 3
    assert all("pairs_per_s=" in line and "eta_s=" in line for line in commits)
    assert "done=13/13" in commits[-1]
    assert "\x1b" not in log.read_text()


RUN = """
import factory, logging, sys
{before}
factory.run_job(sys.argv[1], progress={progress})
assert logging.getLogger("factory").level == logging.NOTSET, "as it was before"
"""


def told_by_a_program(folder: Path, *, progress: bool = True, before: str = "") -> str:
    folder.mkdir(exist_ok=True)
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(small_document(folder)))
    code = RUN.format(before=before, progress=progress)
    ran = subprocess.run(
        [sys.executable, "-c", code, str(job)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert ran.stdout == ""
    return ran.stderr


@pytest.mark.slow
def test_a_program_that_runs_a_job_gets_lines_unless_it_wants_silence(tmp_path: Path) -> None:
    assert told_by_a_program(tmp_path / "a").count("shard_committed") == 3
    assert told_by_a_program(tmp_path / "b", progress=False) == ""


@pytest.mark.slow
def test_lines_go_where_the_program_sends_them(tmp_path: Path) -> None:
    logged = "logging.basicConfig(level='INFO', format='MINE %(message)s')"
    text = told_by_a_program(tmp_path, before=logged)
    lines = text.splitlines()
    assert sum(line.startswith("MINE shard_committed") for line in lines) == 3
    assert not [line for line in lines if not line.startswith("MINE ")]


def test_the_bar_moves_with_samples_and_a_commit_does_not_count_them_twice() -> None:
    observer = BarObserver()
    observer.started(13, 4)
    assert observer.progress.tasks[0].completed == 4
    observer.underway(2)
    assert observer.progress.tasks[0].completed == 6
    observer.underway(5)
    observer.committed(a_record(num_samples=3))
    assert observer.progress.tasks[0].completed == 9, "two of the five are of another shard"
    observer.underway(0)
    assert observer.progress.tasks[0].completed == 7, "a worker has died"
