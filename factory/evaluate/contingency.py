"""Sparse contingency table: pixel counts by (image, reference class, cluster).

Every score of masks follows from it. Only non-zero entries are stored: a 64 px mask has about twenty,
so that 100,000 images take some 150 MB.
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
    """Pixel counts of one image by (reference class, cluster)."""

    key: str
    """The sample's key."""
    num_px: int
    """Number of pixels, ignored ones included."""
    codes: Int64[np.ndarray, " e"]
    """Reference class * 256 + cluster, ascending; neither of them is 255."""
    counts: Int64[np.ndarray, " e"]
    """Pixels of each code."""


@dataclass(frozen=True, slots=True)
class Contingency:
    """Pixel counts by image, reference class and cluster; each triple at most once."""

    keys: tuple[str, ...]
    """Keys of the images."""
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
        """Pixels by reference class and cluster, summed over all images."""
        table = np.zeros((num_classes, num_clusters), dtype=np.int64)
        np.add.at(table, (self.truth, self.cluster), self.counts)
        return table

    def where(self, entries: Bool[np.ndarray, " e"]) -> "Contingency":
        """Select entries; the images stay the same."""
        return Contingency(
            self.keys,
            self.image[entries],
            self.truth[entries],
            self.cluster[entries],
            self.counts[entries],
            self.num_px,
        )

    def only(self, images: Bool[np.ndarray, " n"]) -> "Contingency":
        """Select images."""
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
        """Split the images into two halves by a digest of the key: stable for every image.

        Not by even and odd index: where classes alternate, each half could get some classes only.
        """
        second = np.array([in_second_half(key) for key in self.keys], dtype=bool)
        return self.only(~second), self.only(second)


def count_pair(
    key: str, truth: UInt8[np.ndarray, "h w"], mask: UInt8[np.ndarray, "h w"]
) -> PairCounts:
    """Count the pixels of `mask` by their class in `truth`; 255 on either side excludes a pixel."""
    scored = (truth != IGNORE) & (mask != IGNORE)
    both = truth[scored].astype(np.int64) * _IDS + mask[scored]
    counts = np.bincount(both)
    codes = np.flatnonzero(counts)
    return PairCounts(key, truth.size, codes, counts[codes])


def gather(pairs: Sequence[PairCounts]) -> Contingency:
    """Combine the counts of all images into one table."""
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


def in_second_half(key: str) -> int:
    """1 if an image with this key is in the second half, else 0."""
    return hashlib.sha256(key.encode()).digest()[0] & 1
