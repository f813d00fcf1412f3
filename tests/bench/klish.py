"""KLiSH's fit against the released recipe's formulation: time, memory, agreement; and the head's price.

    python tests/bench/klish.py [--quick]

The recipe keeps all pixels of all images at full resolution, upsampled first; after every merge it
runs up to 20 x 5 full-batch steps of L-BFGS (history 100, no line search) on all planes as one
point, in 8 chunks. Ours samples pixels, keeps scores and searches one plane per merge. Both fit on
as many images of the same generator, from the same number of clusters, each in a process of its own;
peak memory is what the process held beyond the loaded generator. Agreement is the adjusted Rand
index on held-out images at the same number of classes: with the exact masks where they are known,
else with each other. Ratios are of CPU seconds, measured in one run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from generators import random_weights
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from factory.fit.context import Checkpoint, FitContext
from factory.fit.found import Found
from factory.fit.klish import choose_pixels
from factory.fit.kmeans import cluster, nearest
from factory.fit.merge_order import choose_pair
from factory.fit.merging import merge_clusters
from factory.fit.pixels.pool import ThreadedPixelPool
from factory.fit.pixels.sampling import choose_layers, fitting_batch
from factory.fit.progress import Progress
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import LocalWeights, find_weights
from factory.run.worker import configure_process
from factory.segment.linear_head import LinearHead
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter, weight_name
from factory.spec import DatasetSpec, KMeansSpec
from factory.store import LocalStore

CPU = torch.device("cpu")
CLUSTERS = 12
NUM_CLASSES = {"shapes": 4, "cells64": 5, "random256": 5}
PIXELS_PER_IMAGE = {"shapes": 64, "cells64": 256, "random256": 1024}
PENALTY = 5000.0
AIMS = {"memory": 10.0, "time": 3.0, "head": 0.04}
SOURCES: dict[str, dict[str, Any]] = {
    "shapes": {"kind": "shapes"},
    "cells64": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
    "random256": {"kind": "stylegan2", "weights": "/tmp/klish_bench_256.safetensors"},
}


# ---------------------------------------------------------------------------- the released recipe


def released(
    generator: Generator, dataset: DatasetSpec, num_images: int, num_classes: int
) -> Tensor:
    """Planes at the end, the recipe's way."""
    centres = _recipe_kmeans(_all_pixels(generator, dataset, num_images, 0), CLUSTERS)
    vectors = _all_pixels(generator, dataset, num_images, 1)
    ids, _ = nearest(vectors, centres)
    order = ids.bincount(minlength=CLUSTERS).argsort(descending=True)
    ids, centres = order.argsort()[ids], centres[order]
    squares = centres.square().sum(dim=1)
    planes = torch.cat([centres, -squares[:, None] / 2], dim=1) / squares.max()
    while True:
        planes = _recipe_svm(vectors, ids, planes)
        if len(planes) == num_classes:
            return planes
        scores = torch.addmm(planes[:, -1], vectors, planes[:, :-1].T)
        member = functional.one_hot(ids, len(planes)).bool()
        iou = ((scores > 0) & member).sum(0) / ((scores > 0) | member).sum(0).clamp(min=1).double()
        soft = scores.clamp_(-1, 1).add_(1).div_(2)
        alike = (soft.T @ soft).double()
        norms = alike.diagonal().sqrt()
        sizes = member.sum(0)
        worst, partner = choose_pair(iou, alike / (norms[:, None] * norms).clamp(min=1e-30), sizes)
        share = float(sizes[worst] / (sizes[worst] + sizes[partner]))
        planes[partner] = planes[worst] * share + planes[partner] * (1 - share)
        ids[ids == worst] = partner
        ids = ids - (ids > worst).long()
        planes = torch.cat([planes[:worst], planes[worst + 1 :]])


def _all_pixels(generator: Generator, dataset: DatasetSpec, num_images: int, seed: int) -> Tensor:
    """Every pixel of every image: all maps upsampled to the image, side by side."""
    layers, side = choose_layers("auto", generator.facts), generator.facts.resolution
    stacks = []
    for batch in range(-(-num_images // dataset.batch_size)):
        features = generator.generate(
            fitting_batch(generator, dataset, seed, batch), layers
        ).features
        wide = [
            functional.interpolate(
                features[n].float(), (side, side), mode="bilinear", align_corners=True
            )
            for n in layers
        ]
        stacks.append(torch.cat(wide, dim=1).permute(0, 2, 3, 1).flatten(0, 2))
    return torch.cat(stacks)


def _recipe_kmeans(vectors: Tensor, count: int) -> Tensor:
    """One k-means++ seeding, at most 20 rounds."""
    torch.manual_seed(1990)
    centres = vectors[torch.randint(len(vectors), (1,))]
    distance = (vectors - centres).square().sum(dim=1)
    while len(centres) < count:
        place = torch.searchsorted(
            distance.double().cumsum(0), torch.rand(1).double() * distance.double().sum()
        )
        centres = torch.cat([centres, vectors[place.clamp(max=len(vectors) - 1)]])
        distance = torch.minimum(distance, (vectors - centres[-1]).square().sum(dim=1))
    for _ in range(20):
        ids, _ = nearest(vectors, centres)
        sums = torch.zeros_like(centres).index_add_(0, ids, vectors)
        moved = sums / ids.bincount(minlength=count).clamp(min=1)[:, None]
        shift = float((moved - centres).abs().max())
        centres = moved
        if shift < 1e-3:
            break
    return centres


def _recipe_svm(vectors: Tensor, ids: Tensor, start: Tensor) -> Tensor:
    planes = start.clone()
    optimiser = torch.optim.LBFGS([planes], lr=1, max_iter=5, history_size=100)
    columns = torch.arange(len(planes))

    def closure() -> Tensor:
        loss, slopes = torch.zeros(()), torch.zeros_like(planes)
        for rows, labels in zip(vectors.chunk(8), ids.chunk(8), strict=True):
            sign = torch.where(labels[:, None] == columns, 1.0, -1.0)
            short = (1 - sign * torch.addmm(planes[:, -1], rows, planes[:, :-1].T)).clamp_(min=0)
            loss += short.square().sum()
            pull = short.mul_(sign)
            slopes[:, :-1] -= pull.T @ rows
            slopes[:, -1] -= pull.sum(dim=0)
        scale = PENALTY / len(vectors)
        slopes *= 2 * scale
        slopes[:, :-1] += planes[:, :-1]
        planes.grad = slopes / len(planes)
        return (loss * scale + planes[:, :-1].square().sum() / 2) / len(planes)

    for _ in range(20):
        before = planes.clone()
        optimiser.step(closure)
        if not planes.isfinite().all():
            return before
        if float((planes - before).abs().max()) < 1e-4:
            break
    return planes.detach()


# ---------------------------------------------------------------------------- ours


def ours(generator: Generator, dataset: DatasetSpec, num_images: int, num_classes: int) -> Tensor:
    """Planes at the end, our way: some random pixels of each image."""
    bench = bench_on(generator, dataset)
    sampling = choose_pixels(dataset.segmenter, generator.facts)
    assert sampling.num_images == num_images
    bench.sample(sampling, "")
    centres, _ = cluster(bench, CLUSTERS, 0)
    bench.sample(replace(sampling, seed=1), "")
    tree = merge_clusters(bench, sampling.num_pixels, Found(centres)).hierarchy
    return tree.planes[list(tree.flat_cut(num_classes))]


def bench_on(generator: Generator, dataset: DatasetSpec) -> FitContext:
    checkpoint = Checkpoint(LocalStore("/nowhere"), "never")
    pool = ThreadedPixelPool(generator, dataset, CPU, 1)
    return FitContext(dataset, LocalWeights(None, ""), pool, Progress(lambda *_: None), checkpoint)


# ---------------------------------------------------------------------------- measuring


def dataset_of(source: str, num_images: int) -> DatasetSpec:
    segmenter = {
        "kind": "klish",
        "initial_clusters": CLUSTERS,
        "fit": {"num_images": num_images, "pixels_per_image": PIXELS_PER_IMAGE[source]},
    }
    psi = {} if source == "shapes" else {"truncation_psi": 0.8}
    document = {"num_samples": 1, "batch_size": 4, "generator": SOURCES[source], "latents": psi}
    return DatasetSpec.model_validate({**document, "segmenter": segmenter})


def held_out(generator: Generator, dataset: DatasetSpec, planes: Tensor, num_images: int) -> Tensor:
    pixels = _all_pixels(generator, dataset, num_images, 99)
    return torch.addmm(planes[:, -1], pixels, planes[:, :-1].T).argmax(dim=1)


class Watch:
    """The most memory that this process has held since now, in MiB beyond what it holds now."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, self._process.memory_info().rss)

    def end(self) -> float:
        self._over.set()
        self._thread.join()
        return (self._most - self._before) / 2**20


def child(how: str, source: str, num_images: int, path: Path) -> None:
    """Fit once; say what it took, and leave the labels of held-out images in a file."""
    configure_process()
    dataset = dataset_of(source, num_images)
    with torch.inference_mode():
        weights = find_weights(dataset.generator).path if "weights" in SOURCES[source] else None
        generator = load_generator(dataset.generator, weights, device=CPU)
        generator.generate(
            fitting_batch(generator, dataset, 0, 0), choose_layers("auto", generator.facts)
        )
        watch = Watch()
        started, cpu = time.perf_counter(), time.process_time()
        fit: Callable[..., Tensor] = {"released": released, "ours": ours}[how]
        planes = fit(generator, dataset, num_images, NUM_CLASSES[source])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - started
        mib = watch.end()
        labels = held_out(generator, dataset, planes, 8)
        truth = labels
        if source == "shapes":
            batches = [fitting_batch(generator, dataset, 99, b) for b in range(2)]
            truth = torch.cat([generator.masks(batch).flatten() for batch in batches])
    torch.save((labels, truth), path)
    sys.stdout.write(json.dumps({"cpu_s": cpu, "wall_s": wall, "mib": mib}))


def measure(how: str, source: str, num_images: int) -> tuple[dict[str, float], Tensor, Tensor]:
    path = Path(f"/tmp/klish_bench_{how}.pt")
    words = [sys.executable, __file__, "--child", how, source, str(num_images), str(path)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=3600)
    labels, truth = torch.load(path)
    path.unlink()
    return json.loads(done.stdout), labels, truth


def rand_index(first: Tensor, second: Tensor) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985)."""
    width = int(second.max()) + 1
    table = torch.bincount(first * width + second, minlength=(int(first.max()) + 1) * width)
    table = table.view(-1, width).double()

    def pairs(counts: Tensor) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs(table.sum()[None])
    return (both - expected) / ((rows + columns) / 2 - expected)


def compare(source: str, sizes: list[int]) -> None:
    for num_images in sizes:
        (theirs, old, truth), (mine, new, _) = (
            measure(how, source, num_images) for how in ("released", "ours")
        )
        quality = f"ARI between them {rand_index(old, new):.3f}"
        if source == "shapes":
            quality += f", with truth {rand_index(old, truth):.3f} / {rand_index(new, truth):.3f}"
        print(
            f"{source:<10}{num_images:>4} images  released {theirs['cpu_s']:7.1f} s CPU "
            f"{theirs['mib']:7.0f} MiB   ours {mine['cpu_s']:6.1f} s CPU {mine['mib']:6.0f} MiB   "
            f"time / {theirs['cpu_s'] / mine['cpu_s']:.1f} (aim {AIMS['time']:g})  memory / "
            f"{theirs['mib'] / max(mine['mib'], 1):.1f} (aim {AIMS['memory']:g})  {quality}",
            flush=True,
        )


# ---------------------------------------------------------------------------- the other questions


def iou_per_cut() -> None:
    """Mean IoU over the toy generator's four parts, each cluster counted as its commonest part."""
    dataset = dataset_of("shapes", 128)
    generator = load_generator(dataset.generator, None, device=CPU)
    bench = bench_on(generator, dataset)
    for layers in ("auto", ["s16"]):
        spec = dataset.segmenter.model_copy(update={"layers": layers})
        sampling = choose_pixels(spec, generator.facts)
        bench.sample(sampling, "")
        heads = {k: cluster(bench, k, 0)[0] for k in range(2, 11)}
        tree = merge_clusters(
            bench, sampling.num_pixels, Found(cluster(bench, CLUSTERS, 0)[0])
        ).hierarchy
        batch = fitting_batch(generator, dataset, 99, 0)
        features = generator.generate(batch, sampling.layers).features
        wide = [
            functional.interpolate(features[n], (32, 32), mode="bilinear", align_corners=True)
            for n in sampling.layers
        ]
        pixels, truth = (
            torch.cat(wide, dim=1).permute(0, 2, 3, 1).flatten(0, 2),
            generator.masks(batch),
        )
        for count, centres in heads.items():
            bias = -centres.square().sum(dim=1, keepdim=True) / 2
            planes = tree.planes[list(tree.flat_cut(count))]
            scores = [
                _iou(pixels, p, truth.flatten()) for p in (planes, torch.cat([centres, bias], 1))
            ]
            print(
                f"shapes {layers}, {count:>2} classes: mIoU KLiSH {scores[0]:.4f}, "
                f"k-means {scores[1]:.4f}"
            )


def _iou(pixels: Tensor, planes: Tensor, truth: Tensor) -> float:
    found = torch.addmm(planes[:, -1], pixels, planes[:, :-1].T).argmax(dim=1)
    table = torch.bincount(found * 4 + truth, minlength=len(planes) * 4).view(-1, 4)
    part = table.argmax(dim=1)[found]
    both = torch.bincount(part * 4 + truth, minlength=16).view(4, 4).double()
    union = both.sum(dim=0) + both.sum(dim=1) - both.diagonal()
    return float((both.diagonal() / union.clamp(min=1)).mean())


def head_share(source: str, num_classes: int) -> None:
    """The head's time as a share of the generator's forward pass."""
    configure_process()
    dataset = dataset_of(source, 4)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        weights = find_weights(dataset.generator).path
        generator = load_generator(dataset.generator, weights, device=CPU)
        layers = choose_layers("auto", generator.facts)
        latents = fitting_batch(generator, dataset, 0, 0)
        tensors = {
            weight_name(n): torch.randn(num_classes, generator.facts.layers[n].channels)
            for n in layers
        }
        facts = SegmenterFacts(
            kind="kmeans",
            generator_kind="stylegan2",
            weights_sha256="",
            layers=list(layers),
            labels=list(unnamed_labels(num_classes)),
            margin_scale=1.0,
            fitted_on={},
        )
        path = Path(folder) / "head"
        path.write_bytes(encode_segmenter({**tensors, "bias": torch.zeros(num_classes)}, facts))
        kind = KMeansSpec(kind="kmeans", num_clusters=num_classes)
        head = LinearHead(kind, path, generator.facts, CPU)
        forward, heads = [], []
        for _ in range(5):
            started = time.process_time()
            batch = generator.generate(latents, layers)
            middle = time.process_time()
            head.segment(batch)
            forward.append(middle - started)
            heads.append(time.process_time() - middle)
    share = min(heads[1:]) / min(forward[1:])
    print(
        f"head of {num_classes} classes on {source}, {len(layers)} maps: {share:.1%} of the forward "
        f"pass (aim {AIMS['head']:.0%})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=4)
    words = parser.parse_args()
    if words.child:
        how, source, num_images, path = words.child
        child(how, source, int(num_images), Path(path))
        return
    save_file(random_weights(256), SOURCES["random256"]["weights"])
    for count in (5, 26):
        head_share("cells64", count)
        head_share("random256", count)
    with torch.inference_mode():
        iou_per_cut()
    compare("shapes", [32] if words.quick else [32, 128, 512])
    compare("cells64", [8] if words.quick else [8, 16, 32])
    compare("random256", [] if words.quick else [2, 4, 16])


if __name__ == "__main__":
    main()
