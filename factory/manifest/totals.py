"""Totals of a dataset: sums over its receipts, which may be added one table after the other."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from factory.manifest.paths import TRAIN, number_of, split_of

SUMMED = (
    *("path", "num_samples", "size_bytes", "num_rejected"),
    *("class_images", "class_px", "ignore_px"),
)
"""The fields of receipts that are summed."""


@dataclass(slots=True)
class SplitTotals:
    """Sums over the shards of a split."""

    num_samples: int = 0
    """Samples in its shards."""
    num_shards: int = 0
    """Its shards."""
    last_path: str = ""
    """The greatest path of them, which is that of the last shard; empty without one."""


@dataclass(slots=True)
class Totals:
    """Sums over the receipts of a dataset."""

    size_bytes: int = 0
    """Size of all tars."""
    is_rejected: bool = False
    """Whether a sample was rejected."""
    ignore_px: int = 0
    """Pixels of no class."""
    class_images: list[int] = field(default_factory=list)
    """Samples that contain each mask class, by class id."""
    class_px: list[int] = field(default_factory=list)
    """Pixels of each mask class, by class id."""
    agreement: list[int] = field(default_factory=list)
    """The histogram of `Coverage.agreement`; empty if masks were not compared with others."""
    splits: dict[str, SplitTotals] = field(default_factory=dict)
    """Those of each split that has a shard."""

    @property
    def num_samples(self) -> int:
        """Samples of all splits."""
        return sum(split.num_samples for split in self.splits.values())

    def samples_of(self, split: str) -> int:
        """Samples of a split; 0 if it has no shard."""
        return self.splits.get(split, SplitTotals()).num_samples

    def shards_of(self, split: str) -> int:
        """Shards of a split."""
        return self.splits.get(split, SplitTotals()).num_shards

    @property
    def last_number(self) -> int:
        """The number in the name of the last shard of `train`; 0 without one."""
        last = self.splits.get(TRAIN, SplitTotals()).last_path
        return number_of(last) if last else 0

    def add_table(self, table: pa.Table) -> None:
        """Add receipts as rows of a manifest.

        Raises:
            ValueError: If a coverage is no JSON.
        """
        columns = {name: table[name].to_pylist() for name in SUMMED}
        self.add(columns, agreements_in(table))

    def add(self, columns: Mapping[str, Sequence[Any]], agreements: Iterable[list[int]]) -> None:
        """Add receipts as values by field, those of `SUMMED`, and their histograms of agreement."""
        self.size_bytes += sum(columns["size_bytes"])
        self.ignore_px += sum(columns["ignore_px"])
        self.is_rejected = self.is_rejected or any(columns["num_rejected"])
        self.class_images = sum_lists([self.class_images, *columns["class_images"]])
        self.class_px = sum_lists([self.class_px, *columns["class_px"]])
        self.agreement = sum_lists([self.agreement, *agreements])
        for path, num_samples in zip(columns["path"], columns["num_samples"], strict=True):
            split = self.splits.setdefault(split_of(path), SplitTotals())
            split.num_samples += num_samples
            split.num_shards += 1
            split.last_path = max(split.last_path, path)


def agreements_in(table: pa.Table) -> list[list[int]]:
    """The histograms of agreement in the coverages of a table; only coverages with one are decoded.

    Raises:
        ValueError: If one of these is no JSON of a coverage.
    """
    import pyarrow.compute as pc

    texts = table["coverage"].filter(pc.match_substring(table["coverage"], '"agreement"'))
    found = [json.loads(text) for text in texts.to_pylist()]
    if not all(
        isinstance(one, dict) and isinstance(one.get("agreement", []), list) for one in found
    ):
        raise ValueError("a coverage that is none")
    return [one.get("agreement", []) for one in found]


def sum_lists(lists: Sequence[Sequence[int]]) -> list[int]:
    """Sums by position; lists that end early count as zeros."""
    return [sum(values) for values in zip_longest(*lists, fillvalue=0)]
