"""What commands take that only look: `python tests/bench/startup.py [DATASET]`, on an idle machine.

Each is run several times; the table has the shortest wall time and the shortest processor time. Meant:
0.6 s for `factory --help`, and for `factory status` of a dataset.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7


def measure(command: list[str]) -> tuple[float, float]:
    """The shortest wall time and processor time of `command`, in seconds."""
    found = []
    for _ in range(RUNS):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((wall, spent))
    return min(wall for wall, _ in found), min(spent for _, spent in found)


def main() -> None:
    """Print the table."""
    factory = [sys.executable, "-m", "factory"]
    with tempfile.TemporaryDirectory() as folder:
        dataset = sys.argv[1] if len(sys.argv) > 1 else str(Path(folder) / "smoke")
        if len(sys.argv) == 1:
            subprocess.run([*factory, "run", "shipped:smoke", "-q", "-o", dataset], check=True)
        commands = {
            "import factory": [sys.executable, "-c", "import factory"],
            "factory --help": [*factory, "--help"],
            "factory --version": [*factory, "--version"],
            "factory status": [*factory, "status", dataset],
        }
        print(f"{'':<20}{'wall s':>8}{'cpu s':>8}")
        for name, command in commands.items():
            wall, spent = measure(command)
            print(f"{name:<20}{wall:>8.2f}{spent:>8.2f}")


if __name__ == "__main__":
    main()
