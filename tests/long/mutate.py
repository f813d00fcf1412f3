"""Mutate a small dataset thousands of times and run commands: `python -m tests.long.mutate`.

Every command runs in this process, under a limit on memory and an alarm; every 50th as a real command.
Outside of the dataset lies a tree of canaries that must come out as it went in. It ends with counts:
mutations, exit codes, tracebacks, hangs, files touched.
"""

import argparse
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutations import COMMANDS, complaint, mutate, run, tree_of
from small_job import make_small

MOST_CPU_S = 10
MOST_WALL_S = 120
"""Time alone is no hang where other programs keep the cores busy; a wait without computing is one."""
MOST_BYTES = 3 * 2**29
REAL_EVERY = 50


class Hang(BaseException):
    """A command took too long; no `except Exception` may take it for its own."""


def main() -> None:
    """Run until `--count` mutations were tried, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="Seed of the first mutation.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bad, exits, seconds = attack(Path(scratch), arguments.first, arguments.count)
    for line in bad:
        print(line)
    codes = ", ".join(f"{code}: {count:,}" for code, count in sorted(exits.items()))
    print(f"{arguments.count:,} mutations in {seconds:,.0f} s; exit codes {codes}; {len(bad)} bad")
    sys.exit(bool(bad))


def attack(scratch: Path, first: int, count: int) -> tuple[list[str], Counter[int], float]:
    """The bad ones in words, exit codes of all, and the time it took."""
    make_small(scratch / "made")
    (scratch / "canary").mkdir()
    (scratch / "canary" / "file").write_text("thesis")
    before = tree_of(scratch / "canary")
    for command in COMMANDS:  # everything is imported before memory is counted
        shutil.copytree(scratch / "made/out", scratch / "ds")
        run(command, scratch / "ds", scratch / "results")
        shutil.rmtree(scratch / "ds")
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _ring)
    signal.signal(signal.SIGPROF, _ring)
    bad: list[str] = []
    exits: Counter[int] = Counter()
    started = time.monotonic()
    for number in range(first, first + count):
        shutil.rmtree(scratch / "ds", ignore_errors=True)
        shutil.copytree(scratch / "made/out", scratch / "ds")
        what = mutate(scratch / "ds", random.Random(number))
        command = COMMANDS[number % len(COMMANDS)]
        if command[0] == "plan" and not what.startswith("job.yaml"):
            command = COMMANDS[0]  # it reads no other file, and measures the generator for seconds
        code, complaint_ = _try(command, scratch, real=number % REAL_EVERY == 0)
        exits[code] += 1
        if tree_of(scratch / "canary") != before:
            complaint_ = "a file outside of the dataset was touched"
        if complaint_:
            bad.append(f"{number}: {what}; {' '.join(command)}: {complaint_}")
    return bad, exits, time.monotonic() - started


def _try(command: tuple[str, ...], scratch: Path, *, real: bool) -> tuple[int, str]:
    if real:
        words = [word.format(ds=scratch / "ds", out=scratch / "results") for word in command]
        ran = subprocess.run(
            [sys.executable, "-m", "factory", *words], capture_output=True, text=True, check=False
        )
        return ran.returncode, "a traceback" if "Traceback" in ran.stderr else ""
    signal.alarm(MOST_WALL_S)
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
    try:
        result = run(command, scratch / "ds", scratch / "results")
    except Hang:
        return -1, f"no end within {MOST_CPU_S} s of one core, or {MOST_WALL_S} s in all"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return result.exit_code, complaint(result)


def _ring(*_: object) -> None:
    raise Hang


if __name__ == "__main__":
    main()
