"""KLiSH on generators that somebody else made: shares of the classes, beside those of k-means.

    python tests/bench/klish_generators.py --anime FILE --celeba FILE --digiface FILE --eyes FILE
        [--only NAME ...] [--first-seed 100] [--seeds 2] [--clusters 100] [--images 256] [--pixels 256]
        [--merging robust] [--sheet PNG]

Files that are not given are left out; the toy (all maps, and its coarse one alone) and the shipped
StyleGAN2 (with `auto` layers, and with those of the demo) are always fitted. For every cut it prints the
classes' shares, and the share of each image's colour variance that the means of its classes explain
(R2), on 24 images that were not fitted on; for the toy the mean IoU of its exact parts, each class
counted as its commonest part; for the shipped generator the adjusted Rand index with the demo's named
classes. R2 rewards colour, not meaning, so `--sheet` draws the masks to look at. CPU seconds are of the
whole fit. Seeds 0 to 11, and 100 to 109 of the toy
and the shipped generator, chose the constants of the rule: judge on others.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.nn import functional

from factory.fit.context import Checkpoint, FitContext
from factory.fit.klish import fit_klish
from factory.fit.kmeans import fit_kmeans
from factory.fit.pixels.pool import ThreadedPixelPool, one_thread
from factory.fit.progress import Progress
from factory.generate.base import Generator, load_generator
from factory.generate.latents import LatentSampler
from factory.generate.shapes import ShapesGenerator
from factory.generate.weights.find import LocalWeights, find_weights
from factory.segment.agreement import adjusted_rand
from factory.segment.linear_head import plane_scores
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import Corners, decode_segmenter, weight_name
from factory.segment.tree.hierarchy import read_hierarchy
from factory.segment.tree.suggest import suggest_cuts
from factory.spec import DatasetSpec
from factory.spec.read import check_job
from factory.store import LocalStore

CPU = torch.device("cpu")
CUTS = (3, 4, 6, 8, 12)
DEMO = Path(__file__).parents[2] / "jobs" / "blood_cells"
NUM_HELD_OUT, BATCH = 24, 8
# The file of the 32 px faces says neither strides nor the latents' distribution.
CELEBA_LAYERS = [
    {
        "name": f"generator_deconv.{k}.0",
        "kind": "conv" if k == 1 else "conv_transpose",
        "stride": 1 if k < 2 else 2,
        "padding": min(k, 1),
    }
    for k in range(5)
]


def sources(words: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The `generator` section of each generator at hand, and other settings of its fit."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))
    cells = {"generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"}, "psi": 0.8}
    found: dict[str, dict[str, Any]] = {
        "shapes": {"generator": {"kind": "shapes"}},
        "coarse": {"generator": {"kind": "shapes"}, "layers": ["s16"]},
        "cells64": cells,
        "demo": cells | {"layers": ["b64.conv0", "b64.conv1"], "clusters": 40},
    }
    if words.anime:
        found["anime"] = {"generator": {"kind": "anime_dcgan:AnimeDCGAN", "weights": words.anime}}
    if words.celeba:
        settings = {"latent": "uniform", "layers": CELEBA_LAYERS}
        found["celeba"] = {
            "generator": {"kind": "dcgan", "weights": words.celeba, "settings": settings}
        }
    if words.digiface:
        found["digiface"] = {"generator": {"kind": "dcgan", "weights": words.digiface}}
    if words.eyes:
        found["eyes"] = {
            "generator": {"kind": "dcgan", "weights": words.eyes, "settings": {"classes": 8}},
            "layers": ["main.9", "main.12", "main.15"],
        }
    return {name: found[name] for name in words.only or found}


def dataset_of(
    source: dict[str, Any], segmenter: dict[str, Any], words: argparse.Namespace, seed: int
) -> DatasetSpec:
    pixels = words.pixels if words.pixels == "auto" else int(words.pixels)
    fit = {"num_images": words.images, "pixels_per_image": pixels, "seed": seed}
    section = {"layers": source.get("layers", "auto"), "fit": fit} | segmenter
    document = {
        "name": "bench",
        "dataset": {
            "num_samples": 1,
            "batch_size": BATCH,
            "generator": source["generator"],
            "latents": {"truncation_psi": source.get("psi", 1.0)},
            "segmenter": section,
        },
        "output": {"uri": "out/bench"},
    }
    return check_job(document, source="bench").dataset


def fit(
    dataset: DatasetSpec, weights: LocalWeights, pool: ThreadedPixelPool
) -> tuple[bytes, float]:
    """The segmenter file, and CPU seconds."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder, one_thread(), torch.inference_mode():
        progress = Progress(lambda *_: None, threading.Event())
        context = FitContext(
            dataset, weights, pool, progress, Checkpoint(LocalStore(folder), "bench")
        )
        fitter = fit_klish if dataset.segmenter.kind == "klish" else fit_kmeans
        data = fitter(dataset.segmenter, context)
    return data, time.process_time() - started


class HeldOut:
    """Images that no fit has seen, and the masks of heads on them."""

    def __init__(
        self, generator: Generator, dataset: DatasetSpec, layers: tuple[str, ...], name: str
    ) -> None:
        latents = dataset.latents.model_copy(update={"seed": 12345})
        sampler = LatentSampler(generator, latents, dataset.generator)
        read = (*layers, "b64.conv0", "b64.conv1") if name in ("cells64", "demo") else layers
        latents_of = [sampler.draw(range(k, k + BATCH)) for k in range(0, NUM_HELD_OUT, BATCH)]
        with torch.inference_mode():
            drawn = [generator.generate(one, tuple(dict.fromkeys(read))) for one in latents_of]
            self.truth = None
            if isinstance(generator, ShapesGenerator):
                self.truth = torch.cat([generator.masks(one) for one in latents_of]).long()
            elif read != layers:
                self.truth = torch.cat([named_by_the_demo(batch.features) for batch in drawn])
        self.images = torch.cat([batch.images for batch in drawn])
        self._features, self._layers = [batch.features for batch in drawn], layers

    def masks(self, planes: Tensor, corners: Corners) -> Tensor:
        widths = [self._features[0][name].shape[1] for name in self._layers]
        blocks = torch.split(planes[:, :-1], widths, dim=1)
        weights, bias = dict(zip(self._layers, blocks, strict=True)), planes[:, -1:]
        side = self.images.shape[1]
        scores = [plane_scores(maps, weights, bias, side, corners) for maps in self._features]
        return torch.cat([one.argmax(dim=0) for one in scores])

    def explained(self, masks: Tensor, count: int) -> float:
        """Share of the images' colour variance, each image by itself."""
        total = rest = 0.0
        for image, mask in zip(self.images.double(), masks, strict=True):
            colours, ids = image.reshape(-1, 3), mask.flatten()
            members = functional.one_hot(ids, count).double()
            means = members.T @ colours / members.sum(0).clamp(min=1)[:, None]
            total += float((colours - colours.mean(0)).square().sum())
            rest += float((colours - means[ids]).square().sum())
        return 1 - rest / total

    def agreement(self, masks: Tensor, count: int) -> str:
        """With the truth, if there is one."""
        if self.truth is None:
            return ""
        table = torch.bincount((masks * 4 + self.truth).flatten(), minlength=4 * count)
        table = table.view(count, 4)
        if self.images.shape[1] == 64:
            return f" ARI {adjusted_rand(table.numpy()):.3f}"
        merged = torch.zeros(4, 4, dtype=torch.int64)
        both = merged.index_add_(0, table.argmax(dim=1), table).double()
        iou = both.diagonal() / (both.sum(0) + both.sum(1) - both.diagonal())
        return f" mIoU {float(iou.mean()):.3f}"


def named_by_the_demo(features: dict[str, Tensor]) -> Tensor:
    """The named class of each pixel of some cells, as the demo's job makes its masks."""
    tensors, facts = decode_segmenter((DEMO / "tree.safetensors").read_bytes(), source="the demo")
    tree = read_hierarchy(tensors)
    assert tree is not None
    labels = yaml.safe_load((DEMO / "labels.yaml").read_text())["labels"]
    nodes = [node for label in labels for node in label["nodes"]]
    owners = [position for position, label in enumerate(labels) for _ in label["nodes"]]
    widths = [features[name].shape[1] for name in facts.layers]
    blocks = torch.split(tree.planes[nodes][:, :-1], widths, dim=1)
    weights = dict(zip(facts.layers, blocks, strict=True))
    maps = {name: features[name] for name in facts.layers}
    scores = plane_scores(maps, weights, tree.planes[nodes][:, -1:], 64)
    return torch.tensor(owners)[scores.argmax(dim=0)]


def planes_of(data: bytes, count: int) -> tuple[Tensor, tuple[str, ...], Corners]:
    """A head's rows at a cut, the layers that they read, and how their maps are enlarged."""
    tensors, facts = decode_segmenter(data, source="the fit")
    tree = read_hierarchy(tensors)
    if tree is not None:
        planes = tree.planes[tree.by_size(tree.flat_cut(count))]
        return planes, tuple(facts.layers), facts.corners
    weights = torch.cat([tensors[weight_name(name)] for name in facts.layers], dim=1)
    planes = torch.cat([weights, tensors["bias"][:, None]], dim=1)
    return planes, tuple(facts.layers), facts.corners


def measure(
    name: str, source: dict[str, Any], words: argparse.Namespace, seed: int
) -> Iterator[Tensor]:
    """Print what there is to say of a generator's fits, and give rows of a contact sheet."""
    klish = {
        "kind": "klish",
        "merging": words.merging,
        "initial_clusters": source.get("clusters", words.clusters),
    }
    dataset = dataset_of(source, klish, words, seed)
    weights = find_weights(dataset.generator, lambda *_: None)
    generator = load_generator(dataset.generator, weights.path, device=CPU)
    fitted, seconds = fit(dataset, weights, ThreadedPixelPool(generator, dataset, CPU, 2))
    tree = read_hierarchy(decode_segmenter(fitted, source=name)[0])
    assert tree is not None
    suggested = ", ".join(str(count) for count, _ in suggest_cuts(tree).ranked[:4])
    print(f"{name:<10}seed {seed}  {seconds:.0f} s CPU  suggested {suggested}", flush=True)
    layers = planes_of(fitted, 3)[1]
    held_out = HeldOut(generator, dataset, layers, name)
    source = source | {"layers": list(layers)}  # k-means beside it reads the same
    yield held_out.images[:BATCH]
    for count in CUTS:
        kmeans = dataset_of(source, {"kind": "kmeans", "num_clusters": count}, words, seed)
        line = f"  K={count}"
        pool = ThreadedPixelPool(generator, kmeans, CPU, 2)
        for method, data in (("klish", fitted), ("kmeans", fit(kmeans, weights, pool)[0])):
            planes, _, corners = planes_of(data, count)
            masks = held_out.masks(planes, corners)
            shares = torch.bincount(masks.flatten(), minlength=count).double() / masks.numel()
            ordered = " ".join(f"{share:.1%}" for share in shares.sort(descending=True).values)
            line += f"  {method} {ordered} R2 {held_out.explained(masks, count):.3f}"
            line += held_out.agreement(masks, count)
            yield painted(masks[:BATCH], count)
        print(line, flush=True)


def painted(masks: Tensor, count: int) -> Tensor:
    colours = torch.tensor([label.colour for label in unnamed_labels(count)], dtype=torch.uint8)
    return colours[masks]


def draw_sheet(rows: list[Tensor], path: Path, tile: int = 96) -> None:
    """Rows of images, one below the other: images, then KLiSH and k-means at each cut."""
    sheet = np.zeros((len(rows) * tile, BATCH * tile, 3), np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images.numpy()):
            small = Image.fromarray(image).resize((tile, tile), Image.Resampling.NEAREST)
            place = slice(row * tile, (row + 1) * tile), slice(column * tile, (column + 1) * tile)
            sheet[place] = np.asarray(small)
    Image.fromarray(sheet).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("anime", "celeba", "digiface", "eyes"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--pixels", default="256")
    parser.add_argument("--merging", default="robust")
    parser.add_argument("--sheet", type=Path)
    words = parser.parse_args()
    rows: list[Tensor] = []
    for name, source in sources(words).items():
        for seed in range(words.first_seed, words.first_seed + words.seeds):
            found = list(measure(name, source, words, seed))
            rows += found if seed == words.first_seed else []
    if words.sheet:
        draw_sheet(rows, words.sheet)


if __name__ == "__main__":
    main()
