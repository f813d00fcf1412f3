"""A fit gives one file, whoever computes it and whatever dies on the way."""

import re
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from lab import Lab
from painted import generated_pictures
from safetensors.torch import load_file
from small_job import small_job

from factory.fit.fitted import fit_segmenter
from factory.fit.pixels.pool import ThreadedPixelPool
from factory.generate.base import load_generator
from factory.generate.weights.find import find_weights
from factory.run.base import WorkerConfig
from factory.run.ray_cluster import fit_on_ray
from factory.spec import DatasetSpec, RunSpec

CPU = torch.device("cpu")
CELLS = DatasetSpec.model_validate(
    {
        "num_samples": 1,
        "batch_size": 4,
        "generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
        "segmenter": {
            "kind": "klish",
            "initial_clusters": 8,
            "layers": ["b64.conv1"],
            "fit": {"num_images": 64, "pixels_per_image": 32},
        },
    }
)


def fit_cells(pool: Any = None, on_progress: Any = lambda *_: None) -> bytes:
    weights = find_weights(CELLS.generator)
    return fit_segmenter(CELLS, weights, device=CPU, on_progress=on_progress, pool=pool)


def config() -> WorkerConfig:
    digest = find_weights(CELLS.generator).sha256
    return WorkerConfig(CELLS, RunSpec(num_actors=2), "", False, digest, "", "", ())


def workers() -> list[psutil.Process]:
    """The processes below this one that keep fitting pixels."""
    below = psutil.Process().children(recursive=True)
    return [child for child in below if "ray::FitWorker" in " ".join(child.cmdline())]


def test_threads_workers_and_a_killed_worker_give_one_file() -> None:
    alone = fit_cells()
    with torch.inference_mode():
        generator = load_generator(CELLS.generator, find_weights(CELLS.generator).path, device=CPU)
    lanes = ThreadedPixelPool(generator, CELLS, CPU, 2)
    assert fit_cells(lanes) == alone
    lanes.close()
    killed: list[str] = []

    def kill_at(stage: str, done: int, *_: object) -> None:
        if stage not in killed and done > 0 and stage in ("sampling 2/2", "merging"):
            alive = workers()
            assert len(alive) == (1 if killed else 2)
            killed.append(stage)
            alive[0].kill()

    with fit_on_ray(config()) as pool:
        assert fit_cells(pool, kill_at) == alone
    assert killed == ["sampling 2/2", "merging"], "the second was the last worker, and was replaced"


KLISH = {
    "kind": "klish",
    "initial_clusters": 8,
    "fit": {"num_images": 96, "pixels_per_image": 16},
}
DIRECTION = {"kind": "direction", "steps": 200, "images_per_step": 4}


def slow_job(lab: Lab, segmenter: dict[str, Any]) -> Path:
    return lab.write_job(
        {
            "name": "toy",
            "dataset": {
                "num_samples": 8,
                "batch_size": 4,
                "generator": {"kind": "mortal:Slow"},
                "segmenter": segmenter,
            },
            "run": {"executor": "inline"},
            "output": {"uri": str(lab.folder / "out")},
        }
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fit_that_was_ended_goes_on_and_gives_the_same_file(
    lab: Lab, number: signal.Signals
) -> None:
    job = slow_job(lab, KLISH | {"fit": KLISH["fit"] | {"seed": int(number)}})
    here = {"XDG_CACHE_HOME": str(lab.folder / "here")}
    elsewhere = {"XDG_CACHE_HOME": str(lab.folder / "elsewhere")}
    lab.must_run("fit", str(job), "-o", str(lab.folder / "whole"), **elsewhere)
    lab.cue.touch()
    fitting = lab.start("fit", str(job), **here)
    deadline = time.monotonic() + 100
    while not list((lab.folder / "here").rglob("*.partial")):
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.05)
    fitting.send_signal(number)
    _, err = fitting.communicate(timeout=60)
    assert fitting.returncode == (-9 if number == signal.SIGKILL else 75), err
    if number != signal.SIGKILL:
        assert "stopped while fitting; run the same command again to resume" in err
    lab.cue.unlink()
    again = lab.run("fit", str(job), "-o", str(lab.folder / "again"), **here)
    assert again.returncode == 0, again.stderr
    assert "stage=merging" in again.stderr
    assert "stage=clusters" not in again.stderr, "it began anew"
    assert (lab.folder / "again").read_bytes() == (lab.folder / "whole").read_bytes()
    assert not list((lab.folder / "here").rglob("*.partial"))


def alpha(folder: Path) -> dict[str, Any]:
    """A training on pictures of the toy."""
    pictures = generated_pictures(folder / "pictures", small_job(folder).dataset)
    return {"kind": "alpha", "images": str(pictures), "steps": 60, "images_per_step": 4}


@pytest.mark.parametrize("kind", ["direction", "alpha"])
def test_a_search_or_training_that_was_killed_loses_one_interval_at_most_and_gives_the_same_file(
    lab: Lab, kind: str
) -> None:
    stage = "searching" if kind == "direction" else "training"
    job = slow_job(lab, DIRECTION if kind == "direction" else alpha(lab.folder))
    here = {"XDG_CACHE_HOME": str(lab.folder / "here")}
    elsewhere = {"XDG_CACHE_HOME": str(lab.folder / "elsewhere")}
    lab.must_run("fit", str(job), "-o", str(lab.folder / "whole"), **elsewhere)
    lab.cue.touch()
    fitting = lab.start("fit", str(job), **here)
    deadline = time.monotonic() + 100
    while not (kept := list((lab.folder / "here").rglob("*.partial"))):
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.05)
    fitting.send_signal(signal.SIGKILL)
    fitting.communicate(timeout=60)
    assert fitting.returncode == -9
    saved = load_file(kept[0])
    done = int(saved["done"] if kind == "direction" else saved["figures"][0])
    lab.cue.unlink()
    again = lab.run("fit", str(job), "-o", str(lab.folder / "again"), **here)
    assert again.returncode == 0, again.stderr
    first = re.search(rf"stage={stage} done=(\d+)", again.stderr)
    assert first is not None, again.stderr
    assert int(first[1]) >= done > 0, "it began anew"
    assert (lab.folder / "again").read_bytes() == (lab.folder / "whole").read_bytes()
    assert not list((lab.folder / "here").rglob("*.partial"))
