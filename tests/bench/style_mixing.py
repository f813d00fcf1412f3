"""What style mixing costs and how good it is: the table and the curves behind its defaults.

    python tests/bench/style_mixing.py [--samples 64] [--plot jobs/style_mixing.png]

The table holds processor seconds per pair and forward-equivalents (those over the bare generator's)
for the shipped generator at N = 20: variants made by one whole synthesis each (naive), with their
coarse layers shared, stopped early as well, and distilled into a linear head; beside each the
foreground IoU. All are measured in turns in one run, everything on one thread, so that other load on
the machine counts little. The plot shows IoU against the number of
variants and the side at which they are stopped, also for the toy, whose masks are exact.

The shipped generator has no true masks. Its reference is a rule that was checked by eye on 50 images:
the white cell is what is darker than the plasma (in any channel, by 24 of 255 below the 90th
percentile) after an opening with a disc of radius 7, which no red cell survives, near the centre. It
includes the pale cytoplasm of neutrophils, most of which style mixing takes for plasma; the rule errs
on about one image in fifty.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.fit.fitted import fit_segmenter
from factory.generate.base import Generator, load_generator
from factory.generate.latents import LatentSampler
from factory.generate.stylegan2.generator import StyleGAN2
from factory.generate.weights.find import find_weights
from factory.run.worker import configure_process
from factory.segment.base import AnySegmenter, generate_and_segment, load_segmenter
from factory.spec import DatasetSpec, DistilSpec, GeneratorSpec, LatentsSpec, StyleMixingSpec

CPU = torch.device("cpu")
BATCH = 8
NUM_VARIANTS = (2, 5, 10, 20, 40)
TEACHER = StyleMixingSpec(kind="style_mixing")


class Naive(StyleGAN2):
    """Every variant is a whole synthesis of its own."""

    def mix(self, base: LatentBatch, looks: LatentBatch, start: str, stop_px: int) -> Tensor:
        row = tuple(self.facts.layers).index(start)
        rows = self.styles(base).repeat(len(looks.z), 1, 1)
        rows[:, row:] = self.styles(looks)[:, row:]
        assert stop_px == self.facts.resolution
        noise = self._noise(base)
        return torch.cat([self.network.synthesise(one[None], noise)[0] for one in rows])


class Subject:
    """A generator with its latents and reference masks."""

    def __init__(self, kind: str, weights: str, psi: float, count: int) -> None:
        self.spec = GeneratorSpec(kind=kind, weights=weights)
        self.latents = LatentsSpec(truncation_psi=psi)
        self.weights = find_weights(self.spec)
        self.generator = load_generator(self.spec, self.weights.path, device=CPU)
        self.count = count
        if kind == "shapes":
            drawn = [self.generator.masks(self.draw(range(f, f + BATCH))) for f in self.firsts]
            self.truth = torch.cat(drawn) > 0
        else:
            images = [self.generator.generate(self.draw(range(f, f + BATCH)), ()).images
                      for f in self.firsts]  # fmt: skip
            self.truth = torch.stack([white_cell(image) for image in torch.cat(images)])

    @property
    def firsts(self) -> range:
        return range(0, self.count, BATCH)

    def draw(self, indices: Sequence[int]) -> LatentBatch:
        return LatentSampler(self.generator, self.latents, self.spec).draw(list(indices))

    def mixing(self, **settings: object) -> AnySegmenter:
        spec = TEACHER.model_copy(update=settings)
        return load_segmenter(spec, None, self.generator.facts, CPU)

    def score(self, segmenter: AnySegmenter, generator: Generator | None = None) -> float:
        """Mean IoU of the foreground; a rejected mask counts as 0."""
        ious = []
        for first in self.firsts:
            latents = self.draw(range(first, first + BATCH))
            _, found = generate_and_segment(generator or self.generator, segmenter, latents)
            for place, mask in enumerate(found.masks):
                truth = self.truth[first + place]
                iou = ((mask == 1) & truth).sum() / ((mask == 1) | truth).sum()
                is_rejected = bool(found.rejections and found.rejections[place])
                ious.append(0.0 if is_rejected else float(iou))
        return float(np.mean(ious))


def white_cell(image: Tensor) -> Tensor:
    """The reference mask of one shipped image; see the top of this file."""
    padded = functional.pad(image.permute(2, 0, 1).float()[None], (1,) * 4, mode="replicate")
    smooth = functional.avg_pool2d(padded, 3, 1)[0]
    plasma = torch.quantile(smooth.flatten(1), 0.9, dim=1)
    dark = ((plasma[:, None, None] - smooth).amax(dim=0) > 24).float()[None, None]
    reach = torch.arange(-7, 8)
    disc = (reach[:, None] ** 2 + reach**2 <= 52).float()[None, None]
    solid = functional.conv2d(functional.pad(dark, (7,) * 4), disc) == disc.sum()
    place = torch.arange(64) - 31.5
    central = place[:, None] ** 2 + place**2 < 20**2
    return functional.conv2d((solid & central).float(), disc, padding=7)[0, 0] > 0


def seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor seconds of each task, all measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            started = time.thread_time()
            task()
            if turn:
                times[name].append(time.thread_time() - started)
    return {name: float(np.median(found)) for name, found in times.items()}


def table(subject: Subject, rounds: int) -> None:
    """Print cost and IoU of the four ways."""
    facts = subject.generator.facts
    spec = DistilSpec(
        kind="distil", teacher=TEACHER, samples=300, layers=["b64.conv0", "b64.conv1"]
    )
    dataset = DatasetSpec(
        num_samples=1, generator=subject.spec, latents=subject.latents, segmenter=spec
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.safetensors"
        started = time.perf_counter()
        data = fit_segmenter(dataset, subject.weights, device=CPU, on_progress=lambda *_: None)
        fit_s = time.perf_counter() - started
        path.write_bytes(data)
        head = load_segmenter(spec, path, facts, CPU)
    naive = Naive(subject.spec, subject.weights.path, CPU)
    ways = {
        "naive": (subject.mixing(stop_px=64), naive),
        "shared": (subject.mixing(stop_px=64), subject.generator),
        "shared + early stop": (subject.mixing(), subject.generator),
        "distilled": (head, subject.generator),
    }
    latents = subject.draw(range(BATCH))
    tasks: dict[str, Callable[[], object]] = {
        "bare": lambda: subject.generator.generate(latents, ())
    }
    for name, (segmenter, generator) in ways.items():
        tasks[name] = lambda s=segmenter, g=generator: generate_and_segment(g, s, latents)
    found = seconds(tasks, rounds)
    print(f"{'':<22}{'s/pair':>9}{'forwards':>10}{'IoU':>8}   N = {TEACHER.num_variants}")
    print(f"{'bare generator':<22}{found['bare'] / BATCH:>9.4f}{1:>10.2f}")
    for name, (segmenter, generator) in ways.items():
        iou = subject.score(segmenter, generator)
        print(
            f"{name:<22}{found[name] / BATCH:>9.4f}{found[name] / found['bare']:>10.2f}{iou:>8.3f}"
        )
    print(f"(the head was fitted in {fit_s:.0f} s on {spec.samples} images)")


def curves(subject: Subject, sides: Sequence[int]) -> dict[int, list[float]]:
    """IoU by stop side, for each number of variants."""
    found = {}
    for side in sides:
        found[side] = [
            subject.score(subject.mixing(num_variants=n, stop_px=side)) for n in NUM_VARIANTS
        ]
        line = ", ".join(
            f"{n}: {iou:.3f}" for n, iou in zip(NUM_VARIANTS, found[side], strict=True)
        )
        print(f"{subject.spec.kind} stopped at {side} px, IoU by N: {line}", flush=True)
    return found


def draw_plot(path: Path, panels: dict[str, dict[int, list[float]]]) -> None:
    """Both curves side by side, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(9, 3.4), sharey=True)
    for axis, (title, found) in zip(axes, panels.items(), strict=True):
        for side, ious in found.items():
            axis.plot(NUM_VARIANTS, ious, marker="o", markersize=3, label=f"stop at {side} px")
        axis.axvline(TEACHER.num_variants, color="0.8", zorder=0)
        axis.set(title=title, xlabel="variants N", xscale="log", xticks=NUM_VARIANTS)
        axis.set_xticklabels(map(str, NUM_VARIANTS))
        axis.minorticks_off()
        axis.legend(frameon=False)
    axes[0].set_ylabel("foreground IoU")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plot", type=Path, help="also measure the curves and draw them here")
    asked = parser.parse_args()
    configure_process()
    with torch.inference_mode():
        cells = Subject("stylegan2", "shipped:blood_cells", 0.8, asked.samples)
        table(cells, asked.rounds)
        if asked.plot:
            toy = Subject("shapes", "", 1.0, asked.samples)
            panels = {
                "blood cells (64 px), rule-based reference": curves(cells, (16, 32, 64)),
                "toy (32 px), exact masks": curves(toy, (8, 16, 32)),
            }
            draw_plot(asked.plot, panels)


if __name__ == "__main__":
    main()
