"""The table of KLiSH's rules: every generator at the defaults, several seeds, k-means beside them.

    nice python tests/bench/klish_table.py RESULTS --anime FILE --celeba FILE --digiface FILE
        --eyes FILE [--seeds 200 201 202 203 204] [--only NAME ...] [--methods robust kmeans published]
    python tests/bench/klish_table.py RESULTS --table
    python tests/bench/klish_table.py RESULTS --sheets FOLDER --anime FILE ...

RESULTS is a folder: each fit leaves its segmenter file and a line of JSON there, so that an interrupted
run goes on where it stood, and sheets are drawn without another fit. Generators, cuts and scores are
those of `klish_generators.py`. What each fit is made on:

- `robust`: the defaults, 256 images x 256 places and 100 clusters (the demo: its two layers, 40
  clusters), on the layers that `auto` chooses.
- `kmeans`: one fit for each K, on the same layers, images and places.
- `published`: the paper's rule on the same layers and clusters; on 128 images x 128 places if there are
  more than 100 channels, with which it would take up to an hour.

Largest shares are of 24 images that no fit saw; the table gives the mean over the seeds, and in brackets
the worst of them.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import klish_generators as generators
import torch

from factory.fit.pixels.pool import OnCompleted, ThreadedPixelPool
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import LocalWeights, find_weights
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import DatasetSpec

METHODS = ("robust", "kmeans", "published")
CUTS = generators.CUTS
SMALL = {"num_images": 128, "pixels_per_image": 128}


class OneSample(ThreadedPixelPool):
    """Parts that keep the pixels they have if the same ones are asked for: k-means' fits share them."""

    _sampled: tuple[object, ...] = ()

    def update(self, method: str, *args: object, completed: OnCompleted | None = None) -> list[Any]:
        if method == "sample":
            if args in self._sampled:
                return []
            self._sampled = (*self._sampled, args) if args[1] else (args,)
        return super().update(method, *args, completed=completed)


@dataclass
class Subject:
    """A generator that is fitted on, loaded once."""

    name: str
    source: dict[str, Any]
    words: argparse.Namespace
    weights: LocalWeights = field(init=False)
    generator: Generator = field(init=False)

    def __post_init__(self) -> None:
        """Load it."""
        spec = self.dataset({"kind": "klish"}, 0).generator
        self.weights = find_weights(spec, lambda *_: None)
        self.generator = load_generator(spec, self.weights.path, device=generators.CPU)

    def dataset(self, segmenter: dict[str, Any], seed: int) -> DatasetSpec:
        return generators.dataset_of(self.source, segmenter, self.words, seed)

    def clusters(self) -> int:
        return int(self.source.get("clusters", 100))


def files_of(folder: Path, name: str, method: str, seed: int) -> dict[int, Path]:
    """Where the fit of each cut is: one tree for all of KLiSH's, a head for each of k-means'."""
    stem = f"{name}-{method}-{seed}"
    if method == "kmeans":
        return {count: folder / f"{stem}-{count}.safetensors" for count in CUTS}
    return dict.fromkeys(CUTS, folder / f"{stem}.safetensors")


def fit_all(subject: Subject, method: str, seed: int, folder: Path) -> dict[str, float]:
    """Fit, write the files; returns CPU and wall seconds of all fits."""
    paths = files_of(folder, subject.name, method, seed)
    robust = files_of(folder, subject.name, "robust", seed)[4]
    source = subject.source
    if method != "robust":
        layers = decode_segmenter(robust.read_bytes(), source=robust.name)[1].layers
        subject.source = source | {"layers": list(layers)}
    cpu = 0.0
    started = time.perf_counter()
    pool: ThreadedPixelPool | None = None
    for path, count in {paths[count]: count for count in CUTS}.items():
        dataset = dataset_for(subject, method, count, seed)
        pool = pool or OneSample(subject.generator, dataset, generators.CPU, 2)
        data, seconds = generators.fit(dataset, subject.weights, pool)
        path.write_bytes(data)
        cpu += seconds
    if pool is not None:
        pool.close()
    subject.source = source
    return {"cpu_s": round(cpu, 1), "wall_s": round(time.perf_counter() - started, 1)}


def dataset_for(subject: Subject, method: str, count: int, seed: int) -> DatasetSpec:
    if method == "kmeans":
        return subject.dataset({"kind": "kmeans", "num_clusters": count}, seed)
    section = {"kind": "klish", "merging": method, "initial_clusters": subject.clusters()}
    if method == "published":
        widths = subject.generator.facts.layers
        if sum(widths[name].channels for name in subject.source["layers"]) > 100:
            section |= {"fit": SMALL | {"seed": seed}}
    return subject.dataset(section, seed)


def scores_of(
    subject: Subject, method: str, seed: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Of each cut: the largest class's share, the colour variance explained, agreement with truth."""
    found = {}
    held_out: generators.HeldOut | None = None
    for count, path in files_of(folder, subject.name, method, seed).items():
        planes, layers, corners = generators.planes_of(path.read_bytes(), count)
        if held_out is None:
            dataset = subject.dataset({"kind": "klish"}, seed)
            held_out = generators.HeldOut(subject.generator, dataset, layers, subject.name)
        masks = held_out.masks(planes, corners)
        share = float(torch.bincount(masks.flatten()).max()) / masks.numel()
        found[str(count)] = {"top": share, "r2": held_out.explained(masks, count)}
        _, _, agreement = held_out.agreement(masks, count).rpartition(" ")
        if agreement:
            found[str(count)]["truth"] = float(agreement)
    return found


def measure(subjects: Iterator[Subject], words: argparse.Namespace) -> None:
    """Fit what has no line yet, seed by seed."""
    words.results.mkdir(parents=True, exist_ok=True)
    lines = words.results / "lines.jsonl"
    done = {(one["name"], one["method"], one["seed"]) for one in read_lines(lines)}
    loaded = list(subjects)
    for seed, method, subject in (
        (s, m, one) for s in words.seeds for m in words.methods for one in loaded
    ):
        if (subject.name, method, seed) in done:
            continue
        seconds = fit_all(subject, method, seed, words.results)
        cuts = scores_of(subject, method, seed, words.results)
        line = {"name": subject.name, "method": method, "seed": seed, **seconds, "cuts": cuts}
        with lines.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: mean over the seeds, and in brackets the worst."""
    header = (
        "| generator | rule | seeds | figure | " + " | ".join(f"K={k}" for k in CUTS) + " | CPU s |"
    )
    rows = [header, "|" + " --- |" * (5 + len(CUTS))]
    names = list(dict.fromkeys(line["name"] for line in lines))
    for name in names:
        for method in METHODS:
            fits = [x for x in lines if x["name"] == name and x["method"] == method]
            if fits:
                rows += _rows(name, method, fits)
    return "\n".join(rows)


def _rows(name: str, method: str, fits: list[dict[str, Any]]) -> Iterator[str]:
    truth = "mIoU" if name in ("shapes", "coarse") else "ARI"
    for key, title in (("top", "largest share"), ("r2", "R2"), ("truth", truth)):
        if key not in fits[0]["cuts"]["4"]:
            continue
        worst = max if key == "top" else min
        form = "{:.1%} ({:.1%})" if key == "top" else "{:.3f} ({:.3f})"
        cells = []
        for count in CUTS:
            values = [fit["cuts"][str(count)][key] for fit in fits]
            cells.append(form.format(sum(values) / len(values), worst(values)))
        seconds = sum(fit["cpu_s"] for fit in fits) / len(fits)
        head = [name, method, str(len(fits)), title] if key == "top" else ["", "", "", title]
        yield "| " + " | ".join([*head, *cells, f"{seconds:.0f}" if key == "top" else ""]) + " |"


def draw(subjects: Iterator[Subject], words: argparse.Namespace) -> None:
    """A sheet for each generator: images, then the masks of each rule at K = 3, 4, 6, 8 and 12."""
    words.sheets.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        rows: list[torch.Tensor] = []
        for method in words.methods:
            for count, path in files_of(
                words.results, subject.name, method, words.seeds[0]
            ).items():
                if not path.exists():
                    continue
                planes, layers, corners = generators.planes_of(path.read_bytes(), count)
                dataset = subject.dataset({"kind": "klish"}, 0)
                held_out = generators.HeldOut(subject.generator, dataset, layers, subject.name)
                rows = rows or [held_out.images[: generators.BATCH]]
                rows.append(
                    generators.painted(held_out.masks(planes, corners)[: generators.BATCH], count)
                )
        generators.draw_sheet(rows, words.sheets / f"{subject.name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    for name in ("anime", "celeba", "digiface", "eyes"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int, default=[200, 201, 202, 203, 204])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sheets", type=Path)
    words = parser.parse_args(namespace=argparse.Namespace(images=256, pixels="256"))
    if words.table:
        print(table(read_lines(words.results / "lines.jsonl")))
        return
    subjects = (Subject(name, one, words) for name, one in generators.sources(words).items())
    (draw if words.sheets else measure)(subjects, words)


if __name__ == "__main__":
    main()
