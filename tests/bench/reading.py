"""How fast a training loop reads: `python tests/bench/reading.py [DATASET] [--workers 2] [--rounds 5]`.

Samples per second out of a PyTorch DataLoader, decoded to tensors, in batches of 32, from equal shards:
our reader, plain webdataset, wids, and the streaming reader of Hugging Face `datasets`; those of the
last three that are installed. Ours compares every shard with its receipt, the others check nothing.
Rounds take turns, and the best of each counts. Before that it is compared that all read the same pixels.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import factory
from factory.identity import digest_of_file

ROOT = Path(__file__).parents[2]
BATCH = 32

Pair = tuple[str, torch.Tensor, torch.Tensor]


def as_pair(sample: dict[str, Any]) -> Pair:
    """What webdataset and wids have decoded by Pillow, as tensors."""
    image = next(value for name, value in sample.items() if "image." in name)
    mask = next(value for name, value in sample.items() if name.endswith("mask.png"))
    planes = np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()
    ids = np.asarray(mask.convert("L")).astype(np.int64)
    return sample["__key__"], torch.from_numpy(planes), torch.from_numpy(ids)


def shards_of(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "train").glob("*.tar"))


def with_factory(folder: Path, workers: int) -> Iterable[Any]:
    pairs = factory.open_dataset(folder).to_torch(transform=_three)
    return DataLoader(pairs, batch_size=BATCH, num_workers=workers)


def _three(pair: dict[str, Any]) -> Pair:
    return pair["key"], pair["image"], pair["mask"]


def with_webdataset(folder: Path, workers: int) -> Iterable[Any]:
    import webdataset as wds

    files = [str(path) for path in shards_of(folder)]
    read = wds.WebDataset(files, shardshuffle=False).decode("pil").map(as_pair)
    return DataLoader(read, batch_size=BATCH, num_workers=workers)


class ByPosition(Dataset[Pair]):
    """wids, which is asked by position."""

    def __init__(self, index: str) -> None:
        import wids

        self._found = wids.ShardListDataset(index, keep=True)

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, position: int) -> Pair:
        return as_pair(self._found[position])


def with_wids(folder: Path, workers: int, index: Path) -> Iterable[Any]:
    records = factory.open_dataset(folder).manifest.records
    shards = [
        {"url": str(folder / record.path), "nsamples": record.num_samples} for record in records
    ]
    document = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards}
    index.write_text(json.dumps(document))
    return DataLoader(ByPosition(str(index)), batch_size=BATCH, num_workers=workers)


def with_hugging_face(folder: Path, workers: int) -> Iterable[Any]:
    from datasets import load_dataset

    files = [str(path) for path in shards_of(folder)]
    read = load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    return DataLoader(read.map(_decoded, remove_columns=read.column_names), batch_size=BATCH,
                      num_workers=workers, collate_fn=_stacked)  # fmt: skip


def _decoded(sample: dict[str, Any]) -> dict[str, Any]:
    key, image, mask = as_pair(sample)
    return {"key": key, "planes": image.numpy(), "ids": mask.numpy()}


def _stacked(rows: list[dict[str, Any]]) -> list[Any]:
    planes = torch.from_numpy(np.stack([np.asarray(row["planes"], np.uint8) for row in rows]))
    ids = torch.from_numpy(np.stack([np.asarray(row["ids"], np.int64) for row in rows]))
    return [[row["key"] for row in rows], planes, ids]


def content(loader: Iterable[Any]) -> dict[str, tuple[int, int]]:
    """A number for the pixels of each key."""
    return {
        key: (hash(image.numpy().tobytes()), hash(mask.numpy().tobytes()))
        for keys, images, masks in loader
        for key, image, mask in zip(keys, images, masks, strict=True)
    }


def rate(loader: Iterable[Any]) -> float:
    start = time.perf_counter()
    count = sum(len(keys) for keys, _, _ in loader)
    return count / (time.perf_counter() - start)


def readers(folder: Path, workers: int, scratch: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "factory", lambda: with_factory(folder, workers)
    for module, name, make in (
        ("webdataset", "webdataset", with_webdataset),
        ("wids", "wids", lambda f, w: with_wids(f, w, scratch / "index.json")),
        ("datasets", "datasets, streaming", with_hugging_face),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed")
        else:
            yield name, lambda make=make: make(folder, workers)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", nargs="?", type=Path, default=ROOT / "out" / "blood_cells")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for shard in shards_of(asked.dataset):
        digest_of_file(shard)  # all readers find the files in the system's memory
    with tempfile.TemporaryDirectory() as scratch:
        found = dict(readers(asked.dataset, asked.workers, Path(scratch)))
        wanted = content(found["factory"]())
        for name, make in found.items():
            assert content(make()) == wanted, name
        best = dict.fromkeys(found, 0.0)
        for _ in range(asked.rounds):
            for name, make in found.items():
                best[name] = max(best[name], rate(make()))
    print(f"{len(wanted):,} samples, {asked.workers} workers")
    for name, speed in best.items():
        print(f"{name:<22}{speed:>8,.0f} samples/s  {speed / best['webdataset']:.2f}")
    return 0 if best["factory"] >= best["webdataset"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
