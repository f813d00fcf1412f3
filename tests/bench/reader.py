"""How fast a dataset is read: `python tests/bench/reader.py [DATASET] [--rounds 5]`.

Samples per second of one process, decoded to the same arrays, of `factory.open_dataset` and of
webdataset, which checks nothing; and of single samples at random positions. Rounds take turns, the best
of each counts, and what both read is compared first.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import factory  # noqa: E402 - after the path

Arrays = tuple[str, np.ndarray, np.ndarray]


def with_factory(folder: Path, **words: Any) -> Iterator[Arrays]:
    for sample in factory.open_dataset(folder).samples(**words):
        yield sample.key, sample.image, sample.mask


def with_webdataset(folder: Path) -> Iterator[Arrays]:
    shards = [str(path) for path in sorted((folder / "data" / "train").glob("*.tar"))]
    for sample in wds.WebDataset(shards, shardshuffle=False).decode("pil"):
        image = next(value for name, value in sample.items() if name.startswith("image."))
        yield sample["__key__"], np.asarray(image), np.asarray(sample["mask.png"])[..., 0]


def at_random(folder: Path, count: int) -> Iterator[Arrays]:
    dataset = factory.open_dataset(folder)
    for position in random.Random(0).choices(range(len(dataset)), k=count):
        sample = dataset[position]
        yield sample.key, sample.image, sample.mask


def rate(read: Callable[[], Iterator[Arrays]]) -> float:
    start = time.perf_counter()
    count = sum(1 for _ in read())
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", type=Path, default=ROOT / "out" / "blood_cells")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    folder = words.dataset
    for ours, theirs in zip(with_factory(folder), with_webdataset(folder), strict=True):
        assert ours[0] == theirs[0]
        assert np.array_equal(ours[1], theirs[1])
        assert np.array_equal(ours[2], theirs[2])
    readers: dict[str, Callable[[], Iterator[Arrays]]] = {
        "webdataset": lambda: with_webdataset(folder),
        "factory, in order": lambda: with_factory(folder),
        "factory, shuffled": lambda: with_factory(folder, shuffle=True),
        "factory, single ones": lambda: at_random(folder, 1000),
    }
    best = dict.fromkeys(readers, 0.0)
    for _ in range(words.rounds):
        for name, read in readers.items():
            best[name] = max(best[name], rate(read))
    for name, found in best.items():
        print(f"{name:<22}{found:>8,.0f} samples/s  {found / best['webdataset']:.2f}")


if __name__ == "__main__":
    main()
