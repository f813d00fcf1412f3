"""The wheel alone: `python -m tests.long.wheel`; a few minutes, most of them for installing torch.

Builds the wheel, installs it into a new environment without any tool for development, and makes, reads
back and verifies a dataset with it, far from this repository.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READS = """
import sys
import factory
from factory import open_dataset
assert not factory.__file__.startswith(sys.argv[2]), factory.__file__
dataset = open_dataset(sys.argv[1])
image, mask = dataset[0].image, dataset[0].mask
assert image.shape[:2] == mask.shape, (image.shape, mask.shape)
print(f"{len(dataset)} pairs read with factory {factory.__version__}")
"""
NOT_NEEDED = "import importlib.util as i, sys; sys.exit(any(map(i.find_spec, sys.argv[1:])))"


def main() -> None:
    """Build, install, run; ends with an error at the first thing that is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default="torch==2.13.0", help="What is installed before.")
    parser.add_argument("--index-url", default="", help="Where torch comes from; default: pip's.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", name, str(ROOT), at=folder)
        (wheel,) = folder.glob("*.whl")
        look_inside(wheel)
        run(sys.executable, "-m", "venv", str(folder / "venv"), at=folder)
        python = str(folder / "venv/bin/python")
        index = ["--index-url", options.index_url] if options.index_url else []
        run(python, "-m", "pip", "install", "-q", *index, options.torch, at=folder)
        run(python, "-m", "pip", "install", "-q", str(wheel), at=folder)
        run(python, "-c", NOT_NEEDED, "pytest", "beartype", "hypothesis", "moto", at=folder)
        use(folder, python)
    print("the wheel works alone")


def look_inside(wheel: Path) -> None:
    """Everything that the repository has in the package is in the wheel, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if not n.split("/")[0].endswith(".dist-info")}
    tracked = subprocess.run(
        ["git", "ls-files", "factory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert inside == set(tracked), sorted(inside ^ set(tracked))


def use(folder: Path, python: str) -> None:
    """Make, verify and read the smoke dataset as a user would."""
    factory = str(folder / "venv/bin/factory")
    job = str(ROOT / "jobs/smoke.yaml")
    for words in (["plan", job], ["run", job], ["verify", "--deep", "out/smoke"], ["generators"]):
        run(factory, *words, at=folder)
    run(python, "-c", READS, "out/smoke", str(ROOT), at=folder)


def run(*command: str, at: Path) -> None:
    """Run a command in `at`, which nothing of this repository can be imported from."""
    print("$", " ".join(command)[:150], flush=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    kept["XDG_CACHE_HOME"] = str(at / "cache")
    subprocess.run(command, cwd=at, env=kept, check=True)


if __name__ == "__main__":
    main()
