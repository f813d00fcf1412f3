"""Every method that finds foreground on the generators at hand: how right it is, and what it costs.

    nice python tests/bench/methods.py RESULTS --experts zheng_dev.tar --pictures pbc.tar
        [--anime FILE --digiface FILE] [--samples 64] [--only direction ...] [--on cells ...]
        [--search 300 32] [--alpha-steps 2000]

Each method is fitted and used in a process of its own, on one thread, and leaves a row and its masks in
the folder RESULTS, so that an interrupted run goes on where it stood. Everything is at its defaults, but
for the lengths of the direction's search and of alpha's training if they are given. Columns: processor
seconds of the fit; share of masks that are accepted; milliseconds and forward
passes of the generator for an accepted pair (as the method says; of style mixing, which stops variants
early, multiply-adds of a pair over those of an image alone); foreground IoU of the accepted masks,
and of all, where a rejected one counts as 0; peak memory of the process. The second table of a generator
is how alike two methods are on the same latents: the mean IoU of foreground and background, over the
samples that both accept. The third one is what that is worth as a filter: the foreground IoU of a row's
accepted masks without the fifth that agrees least with the column's (with its own: without a filter).

The toy's masks are exact. On the shipped generator the reference is a network trained on masks painted
by experts (`expert_cells.py`, `unet.py`): the whole white cell. It learnt from another laboratory's
pictures, so that 0.93 is about what a perfect mask reaches. Anime and DigiFace faces have no reference:
they show what runs, at what cost, and whether methods agree.

Clusters of `kmeans` and `klish` have no names: here each is foreground if most of its pixels are, which
needs the reference and is the best that anybody could name them; without a reference, if it holds more
of the images' middle than of their rim. `linear` learns from three pictures that the reference painted.
`alpha` needs pictures: but for the cells they are another thousand images of the generator.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "plugins")]

from expert_cells import CENTRAL, NUM_CLASSES, read_experts  # noqa: E402
from foreground_scores import foreground_ious  # noqa: E402
from painted import pictures_folder  # noqa: E402
from unet import predict, train_unet  # noqa: E402

from factory.data import LatentBatch  # noqa: E402
from factory.errors import FactoryError  # noqa: E402
from factory.fit.annotations.pictures_file import picture_name  # noqa: E402
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

CPU = torch.device("cpu")
PAINTED = (3, 8, 21)
DROPPED = 0.2
BATCH = 8
NUM_TOY_PICTURES = 1000
ONE_WAY = ("style_mixing", "direction", "alpha", "linear", "distil")
"""Methods whose class 1 is the foreground."""
METHODS = ("klish", "kmeans", "linear", "style_mixing", "distil", "direction", "alpha")
WITH_STYLES = ("toy", "cells")
"""Generators with styles; on the others `distil` learns from `direction`."""
LEARNS = ("linear",)
"""Methods that need a reference to be made at all."""

Masks = Bool[np.ndarray, "n h w"]
Truth = Callable[[LatentBatch], Masks]


def generators(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The `generator` section, and the truncation, of each generator at hand."""
    found: dict[str, dict[str, Any]] = {"toy": {"generator": {"kind": "shapes"}}}
    if asked.experts:
        cells = {"kind": "stylegan2", "weights": "shipped:blood_cells"}
        found["cells"] = {"generator": cells, "latents": {"truncation_psi": 0.8}}
    if asked.anime:
        found["anime"] = {"generator": {"kind": "anime_dcgan:AnimeDCGAN", "weights": asked.anime}}
    if asked.digiface:
        found["digiface"] = {"generator": {"kind": "dcgan", "weights": asked.digiface}}
    return found


def section_of(
    kind: str, place: str, painted: Path, pictures: str, asked: argparse.Namespace
) -> dict[str, Any]:
    """The settings of each method: defaults but for what it cannot do without, and lengths."""
    steps, images = asked.search
    face = {"foreground_share": [0.01, 0.85]} if place in ("anime", "digiface") else {}
    searched = {"kind": "direction", "steps": steps, "images_per_step": images, **face}
    teacher = {"kind": "style_mixing"} if place in WITH_STYLES else searched
    return {
        "kmeans": {"kind": "kmeans", "num_clusters": 12},
        "klish": {"kind": "klish", "cut": 12},
        "style_mixing": {"kind": "style_mixing"},
        "direction": searched,
        "alpha": {"kind": "alpha", "images": pictures, "steps": asked.alpha_steps},
        "linear": {
            "kind": "linear",
            "annotations": str(painted),
            "classes": ["background", "foreground"],
            "learning_rate": 0.01,
        },
        "distil": {"kind": "distil", "teacher": teacher, "samples": 300},
    }[kind]


def truth_of(generator: Generator, place: str, asked: argparse.Namespace) -> Truth | None:
    """The reference's foreground, or None where there is no reference."""
    if place == "toy":
        return lambda latents: generator.masks(latents).numpy() > 0  # type: ignore[attr-defined]
    if place != "cells":
        return None
    network = train_unet(read_experts(asked.experts).pairs, NUM_CLASSES, 0, asked.results / "nets")

    def whole_cells(latents: LatentBatch) -> Masks:
        with torch.inference_mode():
            images = generator.generate(latents, ()).images.permute(0, 3, 1, 2)
            found = predict(network, images).argmax(dim=1).byte().numpy()
        return np.stack([CENTRAL.clean_parts(mask) for mask in found]) > 0

    return whole_cells


def paint(folder: Path, dataset: DatasetSpec, generator: Generator, truth: Truth) -> None:
    """Some pictures with the reference's foreground on them."""
    pictures_folder(folder, PAINTED, dataset=dataset)
    masks = truth(fitting_latents(generator, dataset, 0, PAINTED))
    for number, mask in zip(PAINTED, masks, strict=True):
        data = encode_mask(mask.astype(np.uint8))
        (folder / f"{picture_name(number)}.mask.png").write_bytes(data)


def write_pictures(folder: Path, dataset: DatasetSpec, generator: Generator) -> None:
    """Images of other latents than those of the dataset."""
    folder.mkdir()
    other = dataset.latents.model_copy(update={"seed": 99})
    sampler = LatentSampler(generator, other, dataset.generator)
    for first in range(0, NUM_TOY_PICTURES, BATCH):
        images = generator.generate(sampler.draw(range(first, first + BATCH)), ()).images
        for place, image in enumerate(images.numpy()):
            Image.fromarray(image).save(folder / f"{first + place:04}.png")


def foreground_of(masks: np.ndarray, truth: Masks | None, kind: str) -> Masks:
    """Which pixels are foreground; of clusters those that the top of this file tells."""
    if kind in ONE_WAY:
        return masks == 1
    if truth is None:
        quarter, rim = masks.shape[1] // 4, max(1, masks.shape[1] // 16)
        is_rim = np.ones(masks.shape[1:], bool)
        is_rim[rim:-rim, rim:-rim] = False
        middle = masks[:, quarter:-quarter, quarter:-quarter]
        chosen = [
            label
            for label in np.unique(masks)
            if (middle == label).mean() > (masks[:, is_rim] == label).mean()
        ]
    else:
        chosen = [label for label in np.unique(masks) if truth[masks == label].mean() > 0.5]
    return np.isin(masks, chosen)


def measure(kind: str, place: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One row, measured in this process; the masks go to a file."""
    configure_process()
    spec = {"num_samples": asked.samples, "batch_size": BATCH, **generators(asked)[place]}
    with tempfile.TemporaryDirectory() as scratch:
        painted, pictures = Path(scratch) / "painted", Path(scratch) / "pictures"
        named = str(asked.pictures) if place == "cells" else str(pictures)
        section = section_of(kind, place, painted, named, asked)
        dataset = DatasetSpec.model_validate(spec | {"segmenter": section})
        weights = find_weights(dataset.generator)
        generator = load_generator(dataset.generator, weights.path, device=CPU)
        truth = truth_of(generator, place, asked)
        if kind in LEARNS:
            if truth is None:
                return {"refused": "needs painted pictures, and nothing here can paint them"}
            paint(painted, dataset, generator, truth)
        if kind == "alpha" and place != "cells":
            write_pictures(pictures, dataset, generator)
        started = time.process_time()
        path = None
        if needs_fitting(dataset):
            fitted = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
            path = asked.results / f"{place}-{kind}.fitted"
            path.write_bytes(finish_segmenter(fitted, dataset.segmenter, source="fit"))
        fit_s = time.process_time() - started
        segmenter = load_segmenter(dataset.segmenter, path, generator.facts, CPU)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row, found = score(generator, segmenter, dataset, truth)
    np.savez_compressed(asked.results / f"{place}-{kind}.npz", **found)
    peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {"fit_s": fit_s, "peak_mb": peak} | row


def score(
    generator: Generator, segmenter: AnySegmenter, dataset: DatasetSpec, truth: Truth | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Cost and foreground IoU; and of each sample its foreground, if it is accepted, and its IoU."""
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    found, right, kept, seconds = [], [], [], 0.0
    for first in range(0, dataset.num_samples, BATCH):
        latents = sampler.draw(range(first, first + BATCH))
        started = time.process_time()
        with torch.inference_mode():
            _, masks = generate_and_segment(generator, segmenter, latents)
        seconds += time.process_time() - started
        found.append(masks.masks.numpy())
        right += [] if truth is None else [truth(latents)]
        kept += [not reason for reason in masks.rejections or ("",) * BATCH]
    accepted, real = np.array(kept), np.concatenate(right) if right else None
    foreground = foreground_of(np.concatenate(found), real, dataset.segmenter.kind)
    share = max(float(accepted.mean()), 1e-9)
    row: dict[str, Any] = {
        "accepted": float(accepted.mean()),
        "pair_ms": 1000 * seconds / len(kept) / share,
        "passes": passes_of(generator, segmenter, sampler.draw(range(BATCH))) / share,
    }
    each = {"masks": foreground, "kept": accepted}
    if real is not None:
        ious = each["ious"] = foreground_ious(foreground, real)
        row["iou"] = float(ious[accepted].mean()) if accepted.any() else 0.0
        row["iou_all"] = float((ious * accepted).mean())
    return row, each


def passes_of(generator: Generator, segmenter: AnySegmenter, latents: LatentBatch) -> float:
    """Passes as the method says; else multiply-adds of a pair over those of an image alone.

    NaN where the method does not say, and the generator hardly multiplies (the toy).
    """
    says = count_passes(segmenter)
    if says is not None or hasattr(generator, "masks"):
        return says or float("nan")
    counts = []
    for make in (
        lambda: generate_and_segment(generator, segmenter, latents),
        lambda: generator.generate(latents, ()),
    ):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            make()
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


def agreement(mine: Masks, theirs: Masks) -> np.ndarray:
    """Mean IoU of foreground and background of two methods' masks of each latent."""
    return np.mean([foreground_ious(mine, theirs), foreground_ious(~mine, ~theirs)], axis=0)


def likeness(first: Path, second: Path) -> str:
    """The mean agreement of two methods, where both accept."""
    one, other = np.load(first), np.load(second)
    both = one["kept"] & other["kept"]
    return (
        f"{agreement(one['masks'][both], other['masks'][both]).mean():.3f}" if both.any() else "-"
    )


def filtered(first: Path, second: Path) -> str:
    """Foreground IoU of the accepted masks of one method, without those that disagree most."""
    one, other = np.load(first), np.load(second)
    kept = one["kept"]
    agreed, ious = agreement(one["masks"][kept], other["masks"][kept]), one["ious"][kept]
    return f"{ious[agreed >= np.quantile(agreed, DROPPED)].mean():.3f}"


def print_row(kind: str, row: dict[str, Any]) -> None:
    """A line of the first table."""
    if "refused" in row:
        print(f"| {kind} | {row['refused']} |||||||", flush=True)
        return
    iou, iou_all = (f"{row[name]:.3f}" if name in row else "-" for name in ("iou", "iou_all"))
    passes = "?" if np.isnan(row["passes"]) else f"{row['passes']:.1f}"
    print(
        f"| {kind} | {row['fit_s']:.0f} | {row['accepted']:.0%} | {row['pair_ms']:.0f} | {passes} "
        f"| {iou} | {iou_all} | {row['peak_mb']:.0f} |",
        flush=True,
    )


def print_pairs(folder: Path, place: str, kinds: list[str]) -> None:
    """The second table, and the third one where there is a reference."""
    files = {kind: folder / f"{place}-{kind}.npz" for kind in kinds}
    files = {kind: file for kind, file in files.items() if file.exists()}
    has_truth = all("ious" in np.load(file) for file in files.values())
    for what in (likeness, filtered)[: 1 + has_truth]:
        print(f"\n| {place} | {' | '.join(files)} |\n|---|{'---|' * len(files)}")
        for kind, file in files.items():
            cells = [what(file, other) for other in files.values()]
            print(f"| {kind} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="folder of rows and masks")
    parser.add_argument("--experts", type=Path, help="zheng_dev.tar; empty = without the cells")
    parser.add_argument("--pictures", type=Path, help="real pictures of cells, for alpha")
    parser.add_argument("--anime", help="weights of the anime DCGAN")
    parser.add_argument("--digiface", help="weights of the DigiFace DCGAN")
    parser.add_argument("--search", nargs=2, type=int, default=[300, 32], help="steps, images")
    parser.add_argument("--alpha-steps", type=int, help="default: the preset's")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--on", nargs="*", help="generators; default: all at hand")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        try:
            print(json.dumps(measure(*asked.row, asked)))
        except FactoryError as error:
            print(json.dumps({"refused": str(error)}))
        return
    asked.results.mkdir(parents=True, exist_ok=True)
    for place in asked.on or generators(asked):
        print(f"\n| {place} | fit s | accepted | ms a pair | passes a pair | IoU | of all | MB |")
        print("|---|---|---|---|---|---|---|---|")
        for kind in asked.only:
            kept = asked.results / f"{place}-{kind}.json"
            if not kept.exists():
                kept.write_text(run_row(kind, place))
            print_row(kind, json.loads(kept.read_text()))
        print_pairs(asked.results, place, asked.only)


def run_row(kind: str, place: str) -> str:
    """Measure a row in a process of its own, whose cache is empty."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--row", kind, place],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | {"XDG_CACHE_HOME": cache},
        )
    return done.stdout


if __name__ == "__main__":
    main()
