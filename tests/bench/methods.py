"""Every method that finds foreground on the generators at hand: how right it is, and what it costs.

    python tests/bench/methods.py [--samples 64] [--steps 300] [--images 32] [--only direction ...]

Each method is fitted and used in a process of its own, on one thread. Columns: seconds of the fit;
share of masks that are accepted; milliseconds and forward passes of the generator for an accepted pair
(passes only where a method says how many); foreground IoU of the accepted masks, and of all, where a
rejected one counts as 0; peak memory of the process.

The toy's masks are exact. The shipped generator has none: its reference is the rule of
`style_mixing.py`. Clusters of `kmeans` and `klish` have no names: here each is foreground if most of its
pixels are, which needs the reference and is the best that anybody could name them. `linear` learns from
three pictures that the reference painted.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from foreground_scores import foreground_ious  # noqa: E402
from painted import pictures_folder  # noqa: E402
from style_mixing import CPU, white_cell  # noqa: E402

from factory.data import LatentBatch  # noqa: E402
from factory.fit.annotations.pictures_file import PICTURES_FOLDER, picture_name  # noqa: E402
from factory.fit.fitted import fit_segmenter, needs_fitting  # noqa: E402
from factory.fit.pixels.sampling import fitting_latents  # noqa: E402
from factory.generate.base import Generator, load_generator  # noqa: E402
from factory.generate.latents import LatentSampler  # noqa: E402
from factory.generate.weights.find import find_weights  # noqa: E402
from factory.pack.image import encode_mask  # noqa: E402
from factory.run.worker import configure_process  # noqa: E402
from factory.segment.base import (  # noqa: E402
    AnySegmenter,
    count_passes,
    finish_segmenter,
    generate_and_segment,
    load_segmenter,
)
from factory.spec import DatasetSpec  # noqa: E402

GENERATORS = {
    "toy": {"kind": "shapes"},
    "cells": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
}
PAINTED = (3, 8, 21)
BATCH = 8
ONE_WAY = ("style_mixing", "direction", "linear", "distil")
"""Methods whose class 1 is the foreground."""


def sections(steps: int, images: int, painted: Path) -> dict[str, dict[str, Any]]:
    """The settings of each method: defaults but for the size of what is fitted on."""
    return {
        "kmeans": {"kind": "kmeans", "num_clusters": 12},
        "klish": {"kind": "klish", "initial_clusters": 48, "cut": 12},
        "style_mixing": {"kind": "style_mixing"},
        "direction": {"kind": "direction", "steps": steps, "images_per_step": images},
        "linear": {
            "kind": "linear",
            "annotations": str(painted),
            "classes": ["background", "foreground"],
            "learning_rate": 0.01,
        },
        "distil": {"kind": "distil", "teacher": {"kind": "style_mixing"}, "samples": 64},
    }


def truth_of(generator: Generator, latents: LatentBatch) -> np.ndarray:
    """The reference's foreground."""
    if hasattr(generator, "masks"):
        found: np.ndarray = generator.masks(latents).numpy() > 0
        return found
    images = generator.generate(latents, ()).images
    return torch.stack([white_cell(image) for image in images]).numpy()


def paint(folder: Path, dataset: DatasetSpec, generator: Generator) -> None:
    """Some pictures with the reference's foreground on them."""
    pictures_folder(folder, PAINTED, dataset=dataset)
    masks = truth_of(generator, fitting_latents(generator, dataset, 0, PAINTED))
    for number, mask in zip(PAINTED, masks, strict=True):
        data = encode_mask(mask.astype(np.uint8))
        (folder / f"{picture_name(number)}.mask.png").write_bytes(data)
    assert (folder / PICTURES_FOLDER).is_dir()


def foreground_of(masks: np.ndarray, truth: np.ndarray, kind: str) -> np.ndarray:
    """Which pixels are foreground; of clusters those whose pixels mostly are."""
    if kind in ONE_WAY:
        return masks == 1
    chosen = [label for label in np.unique(masks) if truth[masks == label].mean() > 0.5]
    return np.isin(masks, chosen)


def measure(kind: str, place: str, samples: int, steps: int, images: int) -> dict[str, Any]:
    """One row, measured in this process."""
    configure_process()
    with tempfile.TemporaryDirectory() as folder:
        spec = {"num_samples": samples, "batch_size": BATCH, "generator": GENERATORS[place]}
        painted = Path(folder) / "painted"
        section = sections(steps, images, painted)[kind]
        dataset = DatasetSpec.model_validate(spec | {"segmenter": section})
        weights = find_weights(dataset.generator)
        generator = load_generator(dataset.generator, weights.path, device=CPU)
        if kind == "linear":
            paint(painted, dataset, generator)
        started = time.perf_counter()
        path = None
        if needs_fitting(dataset):
            fitted = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
            path = Path(folder) / "segmenter"
            path.write_bytes(finish_segmenter(fitted, dataset.segmenter, source="fit"))
        fit_s = time.perf_counter() - started
        segmenter = load_segmenter(dataset.segmenter, path, generator.facts, CPU)
    row = score(generator, segmenter, dataset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"fit_s": fit_s, "peak_mb": peak} | row


def score(generator: Generator, segmenter: AnySegmenter, dataset: DatasetSpec) -> dict[str, Any]:
    """Cost and foreground IoU of the dataset's samples."""
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    found, truth, kept, seconds = [], [], [], 0.0
    for first in range(0, dataset.num_samples, BATCH):
        latents = sampler.draw(range(first, first + BATCH))
        started = time.perf_counter()
        with torch.inference_mode():
            _, masks = generate_and_segment(generator, segmenter, latents)
        seconds += time.perf_counter() - started
        found.append(masks.masks.numpy())
        truth.append(truth_of(generator, latents))
        kept += [not reason for reason in masks.rejections or ("",) * BATCH]
    accepted, real = np.array(kept), np.concatenate(truth)
    foreground = foreground_of(np.concatenate(found), real, dataset.segmenter.kind)
    ious = foreground_ious(foreground, real)
    passes, share = count_passes(segmenter), max(float(accepted.mean()), 1e-9)
    return {
        "accepted": float(accepted.mean()),
        "pair_ms": 1000 * seconds / len(kept) / share,
        "passes": None if passes is None else passes / share,
        "iou": float(ious[accepted].mean()) if accepted.any() else 0.0,
        "iou_all": float((ious * accepted).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300, help="steps of the direction's search")
    parser.add_argument("--images", type=int, default=32, help="images of each of its steps")
    parser.add_argument("--only", nargs="*", help="methods; default: all")
    parser.add_argument("--on", nargs="*", default=list(GENERATORS), help="generators")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        kind, place = asked.row
        print(json.dumps(measure(kind, place, asked.samples, asked.steps, asked.images)))
        return
    sizes = [f"--{name}={getattr(asked, name)}" for name in ("samples", "steps", "images")]
    names = ["fit s", "accepted", "ms/pair", "passes/pair", "IoU kept", "IoU all", "peak MB"]
    print(f"{'':<22}" + "".join(f"{name:>13}" for name in names))
    for place in asked.on:
        for kind in asked.only or sections(0, 0, HERE):
            with tempfile.TemporaryDirectory() as cache:
                done = subprocess.run(
                    [sys.executable, __file__, *sizes, "--row", kind, place],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    env=os.environ | {"XDG_CACHE_HOME": cache},
                )
            row = json.loads(done.stdout)
            passes = "?" if row["passes"] is None else f"{row['passes']:.1f}"
            print(
                f"{place + ' ' + kind:<22}{row['fit_s']:>13.1f}{row['accepted']:>13.0%}"
                f"{row['pair_ms']:>13.1f}{passes:>13}{row['iou']:>13.3f}{row['iou_all']:>13.3f}"
                f"{row['peak_mb']:>13.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
