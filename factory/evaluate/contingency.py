"""Pixels counted by (image, reference class, cluster): all that any score of masks needs.

Entries above zero only: a 64 px mask has about twenty, so that 100,000 images take some 150 MB.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from factory.data import IGNORE

_IDS = 256


@dataclass(frozen=True, slots=True)
class PairCounts:
    """One image's mask held against its reference."""

    key: str
    """The sample's key."""
    num_px: int
    """Pixels, those ignored included."""
    codes: Int64[np.ndarray, " e"]
    """Reference class * 256 + cluster, ascending, neither of them 255."""
    counts: Int64[np.ndarray, " e"]
    """Pixels of each code."""


@dataclass(frozen=True, slots=True)
class Contingency:
    """Pixels by image, reference class and cluster; each triple at most once."""

    keys: tuple[str, ...]
    """The images."""
    image: Int64[np.ndarray, " e"]
    """Position of each entry's image in `keys`."""
    truth: Int64[np.ndarray, " e"]
    """Reference class of each entry."""
    cluster: Int64[np.ndarray, " e"]
    """Cluster of each entry."""
    counts: Int64[np.ndarray, " e"]
    """Pixels of each entry, at least 1."""
    num_px: Int64[np.ndarray, " n"]
    """Pixels of each image, those ignored on either side included."""

    def pooled(self, num_classes: int, num_clusters: int) -> Int64[np.ndarray, "g k"]:
        """Pixels by reference class and cluster, all images together."""
        table = np.zeros((num_classes, num_clusters), dtype=np.int64)
        np.add.at(table, (self.truth, self.cluster), self.counts)
        return table

    def where(self, entries: Bool[np.ndarray, " e"]) -> "Contingency":
        """The same images with some of the entries."""
        return Contingency(
            self.keys,
            self.image[entries],
            self.truth[entries],
            self.cluster[entries],
            self.counts[entries],
            self.num_px,
        )

    def only(self, images: Bool[np.ndarray, " n"]) -> "Contingency":
        """Some of the images."""
        places = np.cumsum(images) - 1
        rows = images[self.image]
        return Contingency(
            tuple(key for key, kept in zip(self.keys, images, strict=True) if kept),
            places[self.image[rows]],
            self.truth[rows],
            self.cluster[rows],
            self.counts[rows],
            self.num_px[images],
        )

    def halves(self) -> tuple["Contingency", "Contingency"]:
        """Two parts of the images, by a digest of the key: the same image is always in the same.

        Not by even and odd: where classes are visited in turn, that could part the classes.
        """
        second = np.array([_digest_bit(key) for key in self.keys], dtype=bool)
        return self.only(~second), self.only(second)


def count_pair(
    key: str, truth: UInt8[np.ndarray, "h w"], mask: UInt8[np.ndarray, "h w"]
) -> PairCounts:
    """Count the pixels of `mask` against `truth`; 255 on either side leaves a pixel out."""
    scored = (truth != IGNORE) & (mask != IGNORE)
    both = truth[scored].astype(np.int64) * _IDS + mask[scored]
    counts = np.bincount(both)
    codes = np.flatnonzero(counts)
    return PairCounts(key, truth.size, codes, counts[codes])


def gather(pairs: Sequence[PairCounts]) -> Contingency:
    """All pairs as one table."""
    nothing = np.zeros(0, dtype=np.int64)
    codes = np.concatenate([nothing, *(pair.codes for pair in pairs)])
    sizes = [len(pair.codes) for pair in pairs]
    return Contingency(
        tuple(pair.key for pair in pairs),
        np.repeat(np.arange(len(pairs)), sizes),
        codes // _IDS,
        codes % _IDS,
        np.concatenate([nothing, *(pair.counts for pair in pairs)]),
        np.array([pair.num_px for pair in pairs], dtype=np.int64),
    )


def _digest_bit(key: str) -> int:
    return hashlib.sha256(key.encode()).digest()[0] & 1
