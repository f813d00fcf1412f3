"""Sampling for a layout and editing, on the shipped generator with the shipped classes.

    python tests/bench/layouts.py --layouts 16 --candidates 100 --sheet layouts.png

prints the IoU of masks with layouts for random, ranked and searched latents with the images that each
took, then ten edits with what they changed inside and outside of the painted region, and draws both.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from factory.data import IGNORE
from factory.edit.figures import measure_edit
from factory.edit.objective import Pull
from factory.edit.search import Found, LayoutSampler, move, render
from factory.edit.strokes import layout_of_edit
from factory.edit.wish import Wish
from factory.fit.fitted import find_fitted
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.segment.base import finish_segmenter, generate_and_segment, load_segmenter
from factory.spec import LayoutSpec
from factory.spec.read import load_job

CPU = torch.device("cpu")
NUCLEUS = 2
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

    def __init__(self, job: Path) -> None:
        self.dataset = load_job(job).dataset
        weights = find_weights(self.dataset.generator)
        self.generator = load_generator(self.dataset.generator, weights.path, device=CPU)
        spec = self.dataset.segmenter.model_copy(update={"confidence": "margin"})
        fitted = find_fitted(self.dataset, weights.sha256)
        assert fitted is not None
        with TemporaryDirectory() as folder:
            path = Path(folder) / "segmenter.safetensors"
            path.write_bytes(finish_segmenter(fitted, spec, source=str(job)))
            self.segmenter = load_segmenter(spec, path, self.generator.facts, CPU)
        self.sampler = LatentSampler(self.generator, self.dataset.latents, self.dataset.generator)

    def make(self, indices: range) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks as a dataset has them."""
        with torch.inference_mode():
            drawn = self.sampler.draw(indices)
            batch, labelled = generate_and_segment(self.generator, self.segmenter, drawn)
        return batch.images.numpy(), labelled.masks.numpy()

    def batches(self, count: int) -> Iterator[range]:
        size = self.dataset.batch_size
        return (range(first, min(first + size, count)) for first in range(0, count, size))


def find_all(bench: Bench, count: int, candidates: int, **settings: object) -> list[Found]:
    """Search layouts for samples 0 to `count` - 1."""
    spec = LayoutSpec(kind="layout", layouts="x", candidates=candidates, **settings)
    search = LayoutSampler(spec, bench.generator, bench.segmenter, bench.sampler)
    found = []
    for indices in bench.batches(count):
        wanted = bench.make(range(FIRST_WANTED + indices.start, FIRST_WANTED + indices.stop))[1]
        layouts = torch.from_numpy(wanted).long()
        found.append(search.find(bench.sampler.draw(indices), layouts))
    return found


def compare(bench: Bench, count: int, candidates: int) -> list[np.ndarray]:
    """Print a line for each way to find layouts; gives the pictures of the sheet, row by row."""
    wanted_images, wanted = bench.make(range(FIRST_WANTED, FIRST_WANTED + 8))
    rows = [wanted_images, shaded(bench, wanted)]
    searches = {"random": {"method": "ranked"}, **SEARCHES}
    print(f"{'':<28} IoU before   after   images  seconds")
    for name, settings in searches.items():
        started = time.monotonic()
        found = find_all(bench, count, 1 if name == "random" else candidates, **settings)
        seconds = (time.monotonic() - started) / count
        before, after = (
            torch.cat([getattr(one, figure) for one in found]) for figure in ("start_iou", "iou")
        )
        images = 1 if name == "random" else found[0].num_forwards
        print(
            f"{name:<28} {before.mean():10.3f} {after.mean():7.3f} ± {after.std():.3f} {images:6d}"
            f" {seconds:8.1f}",
            flush=True,
        )
        if name in ("random", "ranked", "one latent, rate 0.1", "latent per layer, rate 0.1"):
            rows += [found[0].batch.images.numpy(), shaded(bench, found[0].labelled.masks.numpy())]
    return rows


def shifted(mask: np.ndarray, px: int) -> np.ndarray:
    """The nucleus `px` pixels to the right and down; what it leaves is what is most around it."""
    painted = np.full_like(mask, IGNORE)
    nucleus = mask == NUCLEUS
    others = np.bincount(mask[~nucleus], minlength=256)[1 : NUCLEUS + 2]
    painted[nucleus] = NUCLEUS + 1 if others[NUCLEUS] else 0
    painted[np.roll(nucleus, (px, px), axis=(0, 1))] = NUCLEUS
    return painted


def grown(mask: np.ndarray, px: int) -> np.ndarray:
    """The nucleus larger by `px` pixels."""
    nucleus = mask == NUCLEUS
    for _ in range(px):
        sides = [np.roll(nucleus, step, axis=axis) for step in (1, -1) for axis in (0, 1)]
        nucleus = np.logical_or.reduce([nucleus, *sides])
    return np.where(nucleus, NUCLEUS, IGNORE).astype(np.uint8)


def edit_ten(bench: Bench, rate: float) -> list[np.ndarray]:
    """Print a line for each of ten edits; gives the pictures of the sheet, row by row."""
    images, masks = bench.make(range(10))
    painted = np.stack(
        [grown(m, 3) if place % 2 else shifted(m, 4) for place, m in enumerate(masks)]
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
    parser.add_argument("--layouts", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--sheet", type=Path, default=Path("layouts.png"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(asked.job)
    rows = edit_ten(bench, 0.01) + edit_ten(bench, 0.1)
    write_sheet(rows, asked.sheet.with_stem(f"{asked.sheet.stem}-edits"))
    write_sheet(compare(bench, asked.layouts, asked.candidates), asked.sheet)


if __name__ == "__main__":
    main()
