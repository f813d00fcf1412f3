"""Sampling for a layout and editing, on the shipped generator with the shipped classes, and on the toy.

    python tests/bench/layouts.py --layouts 16 --candidates 100 --sheet layouts.png
    python tests/bench/layouts.py --toy ...

prints the IoU of masks with layouts for random, ranked and searched latents with the images that each
took, then ten edits with what they changed inside and outside of the painted region, and draws both.

On the toy generator the exact masks of what was found are known. Its layouts are exact masks, and its
classes those of a linear head that learnt from three pictures, on the toy's two coarse maps: with its
fine one the head would be exact. `exact` is the IoU of the true mask with the layout, so that what a
search gains by images on which the head errs shows.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from painted import linear_section, painted_folder
from small_job import small_job

from factory.data import IGNORE
from factory.edit.figures import measure_edit
from factory.edit.objective import Pull, mean_iou
from factory.edit.search import Found, LayoutSampler, move, render
from factory.edit.strokes import layout_of_edit
from factory.edit.wish import Wish
from factory.fit.fitted import find_fitted, fit_segmenter
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.segment.base import finish_segmenter, generate_and_segment, load_segmenter
from factory.spec import DatasetSpec, LayoutSpec
from factory.spec.read import load_job

CPU = torch.device("cpu")
FIRST_WANTED = 500_000
"""Layouts are masks of images that no search begins with."""
SEARCHES = {
    "ranked": {"method": "ranked"},
    "one latent, rate 0.01": {},
    "one latent, rate 0.1": {"learning_rate": 0.1},
    "latent per layer, rate 0.01": {"latents": "per_layer"},
    "latent per layer, rate 0.1": {"latents": "per_layer", "learning_rate": 0.1},
}


class Bench:
    """Generator, segmenter and latents of the shipped job."""

    part, around = 2, 3
    """The class that edits change, and the one that fills what it leaves where that is there."""

    def __init__(self, job: Path) -> None:
        self.load(load_job(job).dataset, str(job))

    def load(self, dataset: DatasetSpec, source: str) -> None:
        """Load what `dataset` says; its segmenter is fitted if it is not yet."""
        self.dataset = dataset
        weights = find_weights(self.dataset.generator)
        self.generator = load_generator(self.dataset.generator, weights.path, device=CPU)
        spec = self.dataset.segmenter.model_copy(update={"confidence": "margin"})
        fitted = find_fitted(self.dataset, weights.sha256) or fit_segmenter(
            self.dataset, weights, device=CPU, on_progress=lambda *_: None
        )
        with TemporaryDirectory() as folder:
            path = Path(folder) / "segmenter.safetensors"
            path.write_bytes(finish_segmenter(fitted, spec, source=source))
            self.segmenter = load_segmenter(spec, path, self.generator.facts, CPU)
        self.sampler = LatentSampler(self.generator, self.dataset.latents, self.dataset.generator)

    def make(self, indices: range) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks as a dataset has them."""
        with torch.inference_mode():
            drawn = self.sampler.draw(indices)
            batch, labelled = generate_and_segment(self.generator, self.segmenter, drawn)
        return batch.images.numpy(), labelled.masks.numpy()

    def wanted(self, indices: range) -> torch.Tensor:
        """The layouts: masks of other images."""
        return torch.from_numpy(self.make(indices)[1]).long()

    def exact(self, found: Found, layouts: torch.Tensor) -> torch.Tensor | None:
        """IoU of the true masks with the layouts; None where nobody knows them."""
        return None

    def batches(self, count: int) -> Iterator[range]:
        size = self.dataset.batch_size
        return (range(first, min(first + size, count)) for first in range(0, count, size))


class ToyBench(Bench):
    """The toy generator, whose exact masks are known."""

    part, around = 1, 0

    def __init__(self) -> None:
        with TemporaryDirectory() as folder:
            painted = painted_folder(Path(folder) / "painted")
            section = linear_section(painted, layers=["s8", "s16"], epochs=50, lower_after=20)
            job = small_job(Path(folder), {"dataset.segmenter": section, "dataset.batch_size": 8})
            self.load(job.dataset, "toy")

    def wanted(self, indices: range) -> torch.Tensor:
        return self.generator.masks(self.sampler.draw(indices))

    def exact(self, found: Found, layouts: torch.Tensor) -> torch.Tensor | None:
        # Places and sizes, which decide the mask, are the first row.
        masks = self.generator.masks(replace(found.latents, z=found.z[:, 0].numpy()))
        return mean_iou(masks, layouts, len(self.segmenter.labels))


def find_all(
    bench: Bench, count: int, candidates: int, **settings: object
) -> list[tuple[Found, torch.Tensor]]:
    """Search layouts for samples 0 to `count` - 1; what was found for which layouts."""
    spec = LayoutSpec(kind="layout", layouts="x", candidates=candidates, **settings)
    search = LayoutSampler(spec, bench.generator, bench.segmenter, bench.sampler)
    found = []
    for indices in bench.batches(count):
        layouts = bench.wanted(range(FIRST_WANTED + indices.start, FIRST_WANTED + indices.stop))
        found.append((search.find(bench.sampler.draw(indices), layouts), layouts))
    return found


def compare(bench: Bench, count: int, candidates: int) -> list[np.ndarray]:
    """Print a line for each way to find layouts; gives the pictures of the sheet, row by row."""
    first = range(FIRST_WANTED, FIRST_WANTED + 8)
    rows = [bench.make(first)[0], shaded(bench, bench.wanted(first).numpy())]
    searches = {"random": {"method": "ranked"}, **SEARCHES}
    print(f"{'':<28} IoU before   after           images  seconds    exact")
    for name, settings in searches.items():
        started = time.monotonic()
        found = find_all(bench, count, 1 if name == "random" else candidates, **settings)
        seconds = (time.monotonic() - started) / count
        before, after = (
            torch.cat([getattr(one, figure) for one, _ in found]) for figure in ("start_iou", "iou")
        )
        images = 1 if name == "random" else found[0][0].num_forwards
        exact = [iou for one in found if (iou := bench.exact(*one)) is not None]
        known = f"{torch.cat(exact).mean():9.3f}" if exact else ""
        print(
            f"{name:<28} {before.mean():10.3f} {after.mean():7.3f} ± {after.std():.3f} {images:6d}"
            f" {seconds:8.2f}{known}",
            flush=True,
        )
        if name in ("random", "ranked", "one latent, rate 0.1", "latent per layer, rate 0.1"):
            best = found[0][0]
            rows += [best.batch.images.numpy(), shaded(bench, best.labelled.masks.numpy())]
    return rows


def shifted(bench: Bench, mask: np.ndarray, px: int) -> np.ndarray:
    """The part `px` pixels to the right and down; what it leaves becomes what is around it."""
    painted = np.full_like(mask, IGNORE)
    part = mask == bench.part
    painted[part] = bench.around if (mask == bench.around).any() else 0
    painted[np.roll(part, (px, px), axis=(0, 1))] = bench.part
    return painted


def grown(bench: Bench, mask: np.ndarray, px: int) -> np.ndarray:
    """The part larger by `px` pixels."""
    part = mask == bench.part
    for _ in range(px):
        sides = [np.roll(part, step, axis=axis) for step in (1, -1) for axis in (0, 1)]
        part = np.logical_or.reduce([part, *sides])
    return np.where(part, bench.part, IGNORE).astype(np.uint8)


def edit_ten(bench: Bench, rate: float) -> list[np.ndarray]:
    """Print a line for each of ten edits; gives the pictures of the sheet, row by row."""
    images, masks = bench.make(range(10))
    painted = np.stack(
        [
            grown(bench, mask, 3) if place % 2 else shifted(bench, mask, 4)
            for place, mask in enumerate(masks)
        ]
    )
    wanted = layout_of_edit(torch.from_numpy(masks), torch.from_numpy(painted))
    latents = bench.sampler.draw(range(10))
    start = torch.from_numpy(latents.z)[:, None].repeat(1, bench.generator.latent_rows, 1)
    moved = move(
        Wish(bench.generator, bench.segmenter, latents, wanted),
        start,
        steps=50,
        learning_rate=rate,
        pull=Pull(),
    )
    batch, labelled = render(bench.generator, bench.segmenter, latents, moved.z)
    edited, after = batch.images.numpy(), labelled.masks.numpy()
    print(
        f"edits at rate {rate}: painted px, of them right before and after, colours inside, outside"
    )
    figures = []
    for place in range(10):
        both = (images[place], edited[place]), (masks[place], after[place])
        found = measure_edit(*both, painted[place])
        figures.append(found)
        what = "grown" if place % 2 else "shifted"
        print(
            f"{what:<8} {found.painted_px:4d} {found.painted_before:.2f} {found.painted_after:.2f}"
            f" {found.inside_change:6.1f} {found.outside_change:6.1f}"
            f" {found.outside_class_change:.3f}"
        )
    names = ("painted_before", "painted_after", "inside_change", "outside_change")
    means = [np.mean([getattr(one, name) for one in figures]) for name in names]
    print("mean          " + " ".join(f"{mean:.2f}" for mean in means))
    other = np.abs(images.astype(float) - np.roll(images, 1, axis=0)).mean()
    print(f"two other images differ by {other:.1f}", flush=True)
    return [
        one[:8]
        for one in (
            images,
            shaded(bench, masks),
            shaded(bench, wanted.numpy()),
            edited,
            shaded(bench, after),
        )
    ]


def shaded(bench: Bench, masks: np.ndarray) -> np.ndarray:
    """Masks in the colours of their classes."""
    table = np.zeros((256, 3), np.uint8)
    for label in bench.segmenter.labels:
        table[label.id] = label.colour
    return table[masks]


def write_sheet(rows: list[np.ndarray], path: Path) -> None:
    """One line of pictures for each row."""
    lines = [np.concatenate(list(row[:8]), axis=1) for row in rows]
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 2), (0, width - line.shape[1]), (0, 0))) for line in lines]
    Image.fromarray(np.concatenate(padded)).save(path)


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, default=Path("jobs/blood_cells.yaml"))
    parser.add_argument("--toy", action="store_true", help="on the toy generator")
    parser.add_argument("--layouts", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--sheet", type=Path, default=Path("layouts.png"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = ToyBench() if asked.toy else Bench(asked.job)
    rows = edit_ten(bench, 0.01) + edit_ten(bench, 0.1)
    write_sheet(rows, asked.sheet.with_stem(f"{asked.sheet.stem}-edits"))
    write_sheet(compare(bench, asked.layouts, asked.candidates), asked.sheet)


if __name__ == "__main__":
    main()
