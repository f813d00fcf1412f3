"""The wheel alone: `python -m tests.long.wheel`; a few minutes, most of them for installing torch.

Builds the wheel, installs it into a new environment without any tool for development, and walks as a
newcomer does, in an empty folder far from this repository: a demo by its name, its picture, its shards
in plain torch; then, from `factory init` on, the same with a checkpoint of your own (`--checkpoint`).
At last the wheel without its dependencies, beside the few packages that reading needs, reads both.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READS = """
import sys
import torch
import factory
from factory import open_dataset
assert not factory.__file__.startswith(sys.argv[2]), factory.__file__
dataset = open_dataset(sys.argv[1])
image, mask = dataset[0].image, dataset[0].mask
assert image.shape[:2] == mask.shape, (image.shape, mask.shape)
batch = next(iter(torch.utils.data.DataLoader(dataset.to_torch(), batch_size=8)))
assert len(batch["mask"]) == 8 and batch["mask"].max() > 0
print(f"{len(dataset)} pairs read with factory {factory.__version__}")
"""
LOOKS = """
import sys
import numpy as np
from PIL import Image
picture = np.asarray(Image.open(sys.argv[1]).convert("RGB"))
assert min(picture.shape[:2]) > 200 and picture.std() > 20, (picture.shape, picture.std())
print(f"{sys.argv[1]}: {picture.shape[1]} x {picture.shape[0]} px")
"""
READS_ALONE = """
import importlib.util as search
import sys
import factory
assert not any(map(search.find_spec, ("torch", "ray", "boto3", "typer", "starlette")))
for uri in sys.argv[1:]:
    dataset = factory.open_dataset(uri)
    samples = list(dataset.samples(shuffle=True, seed=1))
    assert len(samples) == len(dataset) > 8 and samples[0].mask.max() > 0
    found = dataset[samples[0].key]
    assert (found.image == samples[0].image).all() and (found.mask == samples[0].mask).all()
    assert dataset.facts(["key"]).num_rows == len(dataset)
    print(f"{uri}: {len(samples)} pairs read")
"""
JOBS = [":(glob)jobs/*.yaml", "jobs/blood_cells/*", "jobs/blood_cells_painted/*"]
NOT_NEEDED = "import importlib.util as i, sys; sys.exit(any(map(i.find_spec, sys.argv[1:])))"


def main() -> None:
    """Build, install, run; ends with an error at the first thing that is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default="torch==2.13.0", help="What is installed before.")
    parser.add_argument("--index-url", default="", help="Where torch comes from; default: pip's.")
    parser.add_argument("--checkpoint", type=Path, help="A checkpoint of your own to walk with.")
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
        empty = folder / "empty"
        empty.mkdir()
        use(empty, python)
        read_alone(folder, wheel)
        if options.checkpoint:
            use_own(empty, python, options.checkpoint.resolve())
    print("the wheel works alone")


def look_inside(wheel: Path) -> None:
    """Everything that the repository has in the package is in the wheel, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if not n.split("/")[0].endswith(".dist-info")}
    listed = ["git", "ls-files", "factory", *JOBS]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = set(tracked.stdout.split())
    found = {name.partition(".data/data/share/maskfactory/")[2] or name for name in inside}
    assert found == wanted, sorted(found ^ wanted)


def use(folder: Path, python: str) -> None:
    """Make, verify and read two shipped datasets as a user would: one with the shipped generator."""
    factory = str(Path(python).with_name("factory"))
    few = ["--set", "dataset.num_samples=64", "--set", "dataset.samples_per_shard=16"]
    for words in (
        ["generators"],
        ["plan", "shipped:smoke"],
        ["run", "shipped:smoke"],
        ["verify", "--deep", "out/smoke"],
        ["run", "shipped:blood_cells", *few],
        ["status", "shipped:blood_cells"],
        ["preview", "out/blood_cells"],
    ):
        run(factory, *words, at=folder)
    for name in ("smoke", "blood_cells"):
        run(python, "-c", READS, f"out/{name}", str(ROOT), at=folder)
    run(python, "-c", LOOKS, "preview.png", at=folder)


def read_alone(folder: Path, wheel: Path) -> None:
    """Read what was made, in an environment that has only what the documentation says."""
    page = (ROOT / "factory/docs/reading.md").read_text("utf-8")
    packages = re.findall(
        r"^pip install --no-deps maskfactory\npip install (.+)$", page, re.MULTILINE
    )
    run(sys.executable, "-m", "venv", str(folder / "reader"), at=folder)
    python = str(folder / "reader/bin/python")
    run(python, "-m", "pip", "install", "-q", "--no-deps", str(wheel), at=folder)
    run(python, "-m", "pip", "install", "-q", *packages[0].split(), at=folder)
    made = [str(folder / "empty/out" / name) for name in ("smoke", "blood_cells")]
    run(python, "-c", READS_ALONE, *made, at=folder)


def use_own(folder: Path, python: str, checkpoint: Path) -> None:
    """From a checkpoint to pairs, by the job that `factory init` writes."""
    factory = str(Path(python).with_name("factory"))
    run(factory, "init", str(checkpoint), "-o", "job.yaml", at=folder)
    few = ["--set", "dataset.num_samples=32", "--set", "dataset.samples_per_shard=16"]
    run(factory, "run", "job.yaml", *few, "-o", "own", at=folder)
    run(factory, "preview", "own", "-o", "own.png", at=folder)
    run(python, "-c", READS, "own", str(ROOT), at=folder)
    run(python, "-c", LOOKS, "own.png", at=folder)


def run(*command: str, at: Path) -> None:
    """Run a command in `at`, which nothing of this repository can be imported from."""
    print("$", " ".join(command)[:150], flush=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    kept["XDG_CACHE_HOME"] = str(at / "cache")
    subprocess.run(command, cwd=at, env=kept, check=True)


if __name__ == "__main__":
    main()
