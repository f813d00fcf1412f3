"""A full-size StyleGAN2 (1024 px, config-f, random weights) through the factory on a CPU.

    python tests/bench/big_generator.py [--pairs 4] [--precision float32] [--batch 1] [--keep]

Nothing is downloaded: the weights are made on the fly as a torch.save file of bare tensors, the way
people share them, and deleted at the end. Prints what it takes to inspect, convert and run them: the
seconds of each phase, seconds per pair, and peak memory.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from generators import random_weights

RESOLUTION = 1024


def write_weights(path: Path) -> None:
    """A torch.save file of bare tensors, as people share them: it has to be converted."""
    torch.save(random_weights(RESOLUTION), path)


def job_of(folder: Path, weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": "big",
        "dataset": {
            "num_samples": options.pairs,
            "samples_per_shard": options.pairs,
            "batch_size": options.batch,
            "generator": {
                "kind": "stylegan2",
                "weights": str(weights),
                "precision": options.precision,
            },
            "segmenter": {
                "kind": "kmeans",
                "num_clusters": 4,
                "fit": {"num_images": 4, "pixels_per_image": 256},
            },
        },
        "run": {"executor": "inline"},
        "output": {"uri": str(folder / "out")},
    }


def factory(folder: Path, *words: str) -> list[tuple[float, str]]:
    """Lines of `python -m factory WORDS` with the second at which each came; ends with its end."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "factory", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
    lines = [(time.monotonic() - started, line.rstrip()) for line in process.stdout or ()]
    if process.wait() != 0:
        raise SystemExit(f"factory {' '.join(words)} failed:\n" + "\n".join(x for _, x in lines))
    return [*lines, (time.monotonic() - started, "ended")]


def second_of(event: str, lines: list[tuple[float, str]]) -> float:
    found = [at for at, line in lines if event in line]
    if not found:
        raise SystemExit(f"no {event!r} in:\n" + "\n".join(line for _, line in lines))
    return found[-1]


def peak_gib() -> float:
    """Of the largest child that has ended so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def measure(folder: Path, options: argparse.Namespace) -> None:
    weights, job = folder / "big.pt", folder / "job.yaml"
    started = time.monotonic()
    write_weights(weights)
    print(f"write weights          {time.monotonic() - started:7.1f} s", end="")
    print(f"  ({weights.stat().st_size / 1e6:.0f} MB)", flush=True)
    for words in (
        ("inspect", str(weights)),
        ("convert", str(weights), "-o", str(folder / "big.st")),
    ):
        lines = factory(folder, *words)
        print(f"{words[0]:<23}{lines[-1][0]:7.1f} s  peak RSS so far {peak_gib():.2f} GiB")
    job.write_text(yaml.safe_dump(job_of(folder, weights, options)))

    lines = factory(folder, "run", str(job))
    for _, line in lines:
        print(f"    | {line}")
    fitted, begun = second_of("fit_images_done", lines), second_of("run_started", lines)
    made, ended = second_of("shard_committed", lines), second_of("ended", lines)
    print(f"start, load, 4 fit images {fitted:5.1f} s")
    print(f"cluster, claim         {begun - fitted:7.1f} s")
    print(
        f"load, make, commit     {made - begun:7.1f} s  ({(made - begun) / options.pairs:.2f} /pair)"
    )
    print(f"manifest, preview, card{ended - made:7.1f} s")
    receipts = [json.loads(p.read_text()) for p in (folder / "out" / "receipts").rglob("*.json")]
    walls = {
        key: sum(receipt[key] for receipt in receipts)
        for key in sorted(receipts[0])
        if re.fullmatch(r"\w+_s", key)
    }
    walls_text = ", ".join(f"{key} {value:.2f}" for key, value in walls.items())
    print(f"whole run              {ended:7.1f} s  (receipts: {walls_text})")
    print(f"peak RSS of run        {peak_gib():7.2f} GiB")

    size = sum(p.stat().st_size for p in (folder / "out").rglob("*.tar"))
    print(f"tar bytes per pair     {size / options.pairs / 1e6:7.2f} MB")
    for words in (("verify", str(job)), ("verify", str(job), "--regenerate", "1")):
        lines = factory(folder, *words)
        print(f"{' '.join([words[0], *words[2:]]):<23}{lines[-1][0]:7.1f} s  {lines[-2][1]}")
    print(f"peak RSS of all        {peak_gib():7.2f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--keep", action="store_true", help="leave the folder where it is")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="big-generator-"))
    print(f"{RESOLUTION} px, {options.precision}, {options.pairs} pairs, batch {options.batch}")
    try:
        measure(folder, options)
    finally:
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
