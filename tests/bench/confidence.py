"""What confidence is worth: does it tell good masks from bad ones, and what does it cost?

    python tests/bench/confidence.py --experts zheng_dev.tar [--samples 400] [--plot FILE.png]

Both kinds of confidence, `margin` and `agreement`, are held against the quality of each mask, the mean
IoU over its classes: by Spearman's rank correlation, and by the mean quality of the surest 20 to 100 %,
which must never rise as less sure masks come in. Truth is exact on the toy. On the shipped cells it is
what a U-Net says that was trained on 50 expert masks (`expert_cells.py`; minutes, once: its weights are
kept in `--folder`), the central cell only; red cells are ground. Without `--experts` the toy alone is
measured.

The second table shows the scale of both at several cuts of one tree, and how far the heads' probability
is from the share of pixels that have the class (mean over ten bins of probability, at each pixel's
likeliest class). The third is processor seconds for a pair, all measured in turns on one thread.
"""

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from expert_cells import CENTRAL, NUM_CLASSES, SIDE, read_experts
from jaxtyping import Float64, Int64, UInt8
from scipy.stats import spearmanr
from torch import Tensor
from unet import predict, train_unet

from factory.data import LatentBatch
from factory.fit.finish import finish_fit
from factory.fit.fitted import find_fitted, fit_segmenter, needs_fitting
from factory.generate.base import Generator, load_generator
from factory.generate.batch import ImageBatch, MaskBatch
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.run.worker import configure_process
from factory.segment.base import AnySegmenter, JudgedSegmenter, generate_and_segment, load_segmenter
from factory.spec import DatasetSpec
from factory.spec.read import check_job, load_job

CPU = torch.device("cpu")
BATCH = 8
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
LARGEST_RISE = 0.005
LEAST_SPREAD = 0.002
CUTS = (4, 8, 12)
JOBS = Path(__file__).parents[2] / "jobs"
KLISH: dict[str, Any] = {"kind": "klish", "cut": 4, "initial_clusters": 40}
TOY: dict[str, dict[str, Any]] = {
    "toy, KLiSH": KLISH,
    "toy, KLiSH on coarse maps": KLISH | {"layers": ["s8", "s16"]},
    "toy, style mixing": {"kind": "style_mixing"},
}
AIMS = {"toy": 0.6, "cells": 0.4}
Truth = Callable[[Tensor, LatentBatch], Int64[Tensor, "n h w"]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A generator with a method, and what its masks should be."""

    name: str
    dataset: DatasetSpec
    truth: Truth
    """Called with images and latents."""
    part_of: dict[str, int]
    """The truth's class of each mask class, by name; empty = the commonest one."""

    @property
    def generator(self) -> Generator:
        weights = find_weights(self.dataset.generator)
        return load_generator(self.dataset.generator, weights.path, device=CPU)

    def segmenter(self, confidence: str, **settings: Any) -> AnySegmenter:
        """The segmenter, fitted if it has to be."""
        spec = self.dataset.segmenter.model_copy(update={"confidence": confidence, **settings})
        dataset = self.dataset.model_copy(update={"segmenter": spec})
        weights = find_weights(dataset.generator)
        fitted: bytes | None = b""
        if needs_fitting(dataset):
            fitted = find_fitted(dataset, weights.sha256)
        if fitted is None:
            fitted = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
        data = finish_fit(fitted, dataset, weights, device=CPU, on_progress=lambda *_: None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "segmenter.safetensors"
            path.write_bytes(data)
            return load_segmenter(spec, path if data else None, self.generator.facts, CPU)


def batches(subject: Subject, count: int) -> Iterator[LatentBatch]:
    sampler = LatentSampler(subject.generator, subject.dataset.latents, subject.dataset.generator)
    for first in range(0, count, BATCH):
        yield sampler.draw(range(first, first + BATCH))


# ---------------------------------------------------------------------------- sureness and quality


@dataclass(frozen=True, slots=True)
class Measured:
    """The masks of a subject that are not rejected, one value each."""

    quality: Float64[np.ndarray, " n"]
    margin: Float64[np.ndarray, " n"]
    agreement: Float64[np.ndarray, " n"]


def measure(subject: Subject, count: int) -> Measured:
    generator = subject.generator
    judged = subject.segmenter("agreement")
    assert isinstance(judged, JudgedSegmenter)
    # Both from one pass: the heads judge the masks of the segmenter inside, which says its margin.
    plain, heads = judged._inner, judged._heads
    rows: dict[str, list[Tensor]] = {n: [] for n in ("masks", "truth", "margin", "agreement")}
    for latents in batches(subject, count):
        batch, found = generate_and_segment(generator, plain, latents, heads.layers)
        stays = torch.tensor([not why for why in found.rejections] or [True] * BATCH)
        rows["masks"].append(found.masks[stays])
        rows["truth"].append(subject.truth(batch.images, latents)[stays])
        rows["margin"].append(found.confidence[stays])
        rows["agreement"].append(heads.judge(found, batch.features).confidence[stays])
    whole = {name: torch.cat(parts) for name, parts in rows.items()}
    labels = [label.name for label in judged.labels]
    masks = _as_truth(whole["masks"].long(), whole["truth"], labels, subject.part_of)
    quality = mean_ious(masks, whole["truth"])
    return Measured(quality, whole["margin"].double().numpy(), whole["agreement"].double().numpy())


def _as_truth(
    masks: Int64[Tensor, "n h w"],
    truth: Int64[Tensor, "n h w"],
    labels: Sequence[str],
    part_of: dict[str, int],
) -> Int64[Tensor, "n h w"]:
    """The masks in the truth's classes."""
    if part_of:
        return torch.tensor([part_of[name] for name in labels])[masks]
    parts = int(truth.max()) + 1
    table = torch.bincount((masks * parts + truth).flatten(), minlength=len(labels) * parts)
    return table.view(-1, parts).argmax(dim=1)[masks]


def mean_ious(
    masks: Int64[Tensor, "n h w"], truth: Int64[Tensor, "n h w"]
) -> Float64[np.ndarray, " n"]:
    """Each mask's mean IoU over the classes that it or the truth has."""
    columns = []
    for label in range(int(truth.max()) + 1):
        mine, right = masks == label, truth == label
        both, either = (mine & right).sum(dim=(1, 2)), (mine | right).sum(dim=(1, 2))
        columns.append(torch.where(either > 0, both / either.double(), torch.nan))
    return np.asarray(torch.stack(columns, dim=1).nanmean(dim=1))


def curve(sureness: Float64[np.ndarray, " n"], quality: Float64[np.ndarray, " n"]) -> list[float]:
    """Mean quality of the surest 20 %, 40 %, ..., 100 %."""
    order = np.argsort(-sureness, kind="stable")
    return [float(quality[order[: math.ceil(len(order) * share)]].mean()) for share in SHARES]


def print_sureness(subject: Subject, found: Measured) -> None:
    print(f"{subject.name}: {len(found.quality)} masks, mean IoU {found.quality.mean():.3f}")
    if found.quality.std() < LEAST_SPREAD:
        print("  all are alike: there is nothing to tell apart", flush=True)
        return
    aim = AIMS["cells" if "cells" in subject.name else "toy"]
    for name in ("margin", "agreement"):
        sureness = getattr(found, name)
        rho = float(spearmanr(sureness, found.quality)[0])
        kept = curve(sureness, found.quality)
        rise = max(b - a for a, b in itertools.pairwise(kept))
        verdict = "ok" if rho >= aim and rise <= LARGEST_RISE else "NO"
        low, middle, high = np.quantile(sureness, [0.05, 0.5, 0.95])
        print(
            f"  {name:<10} Spearman {rho:+.2f} (aim {aim})   surest 20/40/60/80/100 %: "
            f"{'  '.join(f'{value:.3f}' for value in kept)}   largest rise {rise:+.4f} (at most "
            f"{LARGEST_RISE})  {verdict}   its 5/50/95 %: {low:.2f} {middle:.2f} {high:.2f}",
            flush=True,
        )


# ---------------------------------------------------------------------------- scale and calibration


def print_scales(subject: Subject, cuts: Sequence[int], count: int) -> None:
    print(f"{subject.name}: confidence at other cuts, 5/50/95 %")
    for cut in cuts:
        settings = {"cut": cut, "labels": None, "clean": None}
        line = f"  {cut:>3} classes"
        for name in ("margin", "agreement"):
            segmenter = subject.segmenter(name, **settings)
            made = [generate_and_segment(subject.generator, segmenter, latents, _heads(segmenter))
                    for latents in batches(subject, count)]  # fmt: skip
            sureness = torch.cat([labelled.confidence for _, labelled in made])
            low, middle, high = np.quantile(sureness.numpy(), [0.05, 0.5, 0.95])
            line += f"   {name} {low:.2f} {middle:.2f} {high:.2f}"
            if isinstance(segmenter, JudgedSegmenter):
                line += f"   off by {calibration_error(segmenter, made):.3f}"
        print(line, flush=True)


def _heads(segmenter: AnySegmenter) -> tuple[str, ...]:
    return segmenter._heads.layers if isinstance(segmenter, JudgedSegmenter) else ()


def calibration_error(
    segmenter: JudgedSegmenter, made: Sequence[tuple[ImageBatch, MaskBatch]]
) -> float:
    """Mean distance of probability and share over ten bins, weighted by pixels."""
    said, right = [], []
    for batch, found in made:
        maps = torch.stack([
            segmenter._heads.judge(
                replace(found, masks=torch.full_like(found.masks, label)), batch.features
            ).confidence_by_px
            for label in range(len(segmenter.labels))
        ])  # fmt: skip
        best = maps.max(dim=0)
        said.append(best.values.flatten())
        right.append((best.indices == found.masks).flatten().float())
    p, hit = torch.cat(said), torch.cat(right)
    bins = (p * 10).long().clamp(max=9)
    zeros = torch.zeros(10)
    gap = zeros.index_add(0, bins, p) - zeros.index_add(0, bins, hit)
    return float(gap.abs().sum() / len(p))


# ---------------------------------------------------------------------------- price


def print_price(subject: Subject, rounds: int) -> None:
    """Processor seconds for a pair, in turns."""
    latents = next(batches(subject, BATCH))
    generator = subject.generator
    tasks: dict[str, Callable[[], object]] = {"bare": lambda: generator.generate(latents, ())}
    for name in ("margin", "agreement"):
        one = subject.segmenter(name)
        tasks[name] = lambda one=one: generate_and_segment(generator, one, latents)
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            started = time.thread_time()
            task()
            times[name].append(time.thread_time() - started)
    bare, margin, agreement = (float(np.median(found)) for found in times.values())
    print(
        f"{subject.name}: ms/pair bare {bare / BATCH * 1e3:.2f}, margin {margin / BATCH * 1e3:.2f}, "
        f"agreement {agreement / BATCH * 1e3:.2f}: {(agreement - margin) / bare:+.2f} forwards"
    )


# ---------------------------------------------------------------------------- subjects


def toy_subjects() -> Iterator[Subject]:
    for name, segmenter in TOY.items():
        document = {
            "name": "bench",
            "dataset": {
                "num_samples": 1,
                "batch_size": BATCH,
                "generator": {"kind": "shapes"},
                "segmenter": segmenter,
            },
            "output": {"uri": "out"},
        }
        dataset = check_job(document, source="bench").dataset
        toy = load_generator(dataset.generator, None, device=CPU)
        two = segmenter["kind"] == "style_mixing"

        def truth(_: Tensor, latents: LatentBatch, toy: Any = toy, two: bool = two) -> Tensor:
            masks: Tensor = toy.masks(latents)
            return (masks > 0).long() if two else masks

        yield Subject(name, dataset, truth, {})


def cell_subjects(experts: Path, folder: Path) -> Iterator[Subject]:
    network = train_unet(read_experts(experts).pairs, NUM_CLASSES, 0, folder)

    def truth(images: UInt8[Tensor, "n h w 3"], _: LatentBatch) -> Int64[Tensor, "n h w"]:
        assert images.shape[1] == SIDE
        found = predict(network, images.permute(0, 3, 1, 2)).argmax(dim=1).byte().numpy()
        return torch.from_numpy(np.stack([CENTRAL.clean_parts(mask) for mask in found])).long()

    shipped = load_job(JOBS / "blood_cells.yaml").dataset
    parts = {"background": 0, "red cell": 0, "nucleus": 2, "cytoplasm": 1}
    yield Subject("cells, KLiSH as shipped", shipped, truth, parts)
    mixing = load_job(JOBS / "blood_cells_style_mixing.yaml").dataset
    spec = mixing.segmenter.teacher  # type: ignore[attr-defined]
    teacher = mixing.model_copy(update={"segmenter": spec})
    yield Subject("cells, style mixing", teacher, lambda *a: (truth(*a) > 0).long(), {})


def draw_plot(path: Path, found: dict[str, Measured]) -> None:
    """Accuracy against coverage, a panel for each subject."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3.2), squeeze=False)
    for axis, (title, one) in zip(axes[0], found.items(), strict=True):
        for name, colour in (("margin", "0.6"), ("agreement", "C0")):
            order = np.argsort(-getattr(one, name), kind="stable")
            means = np.cumsum(one.quality[order]) / np.arange(1, len(order) + 1)
            first = len(order) // 20  # a mean over fewer masks is noise
            share = np.arange(1, len(order) + 1) / len(order)
            axis.plot(share[first:], means[first:], color=colour, label=name)
        axis.set(title=title, xlabel="share kept, surest first")
        axis.title.set_fontsize(9)
    axes[0][0].set_ylabel("mean IoU of what is kept")
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--experts", type=Path, help="zheng_dev.tar; empty = the toy alone")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/confidence_bench"))
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    configure_process()
    subjects = list(toy_subjects())
    if asked.experts:
        subjects += cell_subjects(asked.experts, asked.folder)
    with torch.inference_mode():
        found = {}
        for subject in subjects:
            found[subject.name] = measure(subject, asked.samples)
            print_sureness(subject, found[subject.name])
        for subject in subjects:
            if subject.dataset.segmenter.kind == "klish" and "coarse" not in subject.name:
                print_scales(subject, CUTS, asked.samples // 4)
        for subject in subjects:
            print_price(subject, asked.rounds)
    if asked.plot:
        draw_plot(asked.plot, found)


if __name__ == "__main__":
    main()
