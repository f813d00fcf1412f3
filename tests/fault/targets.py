"""A job of real cells with coverage targets, which its own rounds have to meet."""

import time
from pathlib import Path
from typing import Any

from fault.lab import Lab

TARGETS = {
    "min_samples": {
        "basophil": 40,
        "eosinophil": 40,
        "lymphocyte": 40,
        "monocyte": 40,
        "neutrophil": 40,
        "2": {"count": 75, "min_area": 0.15},
    },
    "budget": 2000,
}


def cells(lab: Lab, output: str, **run: Any) -> Path:
    """40 cells of each type, 75 with a nucleus of at least 15 %: more than come by themselves."""
    return lab.write_job(
        {
            "name": "cells",
            "dataset": {
                "num_samples": 40,
                "samples_per_shard": 20,
                "batch_size": 8,
                "generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
                "latents": {"truncation_psi": 0.8},
                "segmenter": {
                    "kind": "kmeans",
                    "num_clusters": 5,
                    "layers": ["b64.conv0", "b64.conv1"],
                },
                "coverage": TARGETS,
            },
            "run": run or {"executor": "inline"},
            "output": {"uri": str(lab.folder / output)},
        }
    )


def rounds(lab: Lab, output: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((lab.folder / output / "plan").glob("round-*"))]


def kill_after(lab: Lab, job: Path, output: str, num_receipts: int) -> None:
    """Run `job`, and kill its driver once so many shards are committed."""
    driver = lab.start("run", str(job))
    deadline = time.monotonic() + 120
    while len(lab.digests(output)) < num_receipts and time.monotonic() < deadline:
        time.sleep(0.02)
    driver.kill()
    driver.communicate()
