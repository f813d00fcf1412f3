"""Sample statistics without a network: sharpness, mask borders, perceptual hash, cell of the latent.

Everything is integer arithmetic until the last division, so that results are equal on all machines.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt64

from factory.data import PixelCounts, Sample
from factory.identity import counter_rng
from factory.manifest.labels import Facts

NUM_CELLS = 256
"""Number of cells that the latent space is divided into, 2^8."""

_CELL_BITS = 8
_MOST_ROWS = 128
HASH_ROWS, HASH_COLUMNS = 8, 9
"""Boxes of which a perceptual hash compares the brightness."""

LUMA = (77, 150, 29)
"""Rec. 601's weights of red, green and blue, times 256: they sum to 256."""

MIN_HASHED_HEIGHT, MIN_HASHED_WIDTH = HASH_ROWS, HASH_COLUMNS
"""Smaller images all have the same hash, which says nothing."""


class Measures(Facts):
    """Statistics of one sample; the defaults mean unknown."""

    sharpness: float = -1.0
    """Variance of the image's Laplacian, in grey levels squared; broken images are often smooth."""
    border: float = -1.0
    """Share of neighbouring pixels that differ in class, 0 to 1; large for noisy masks."""
    dhash: str = ""
    """Perceptual hash, 64 bits as 16 hex digits: similar images share most bits."""
    latent_cell: int = -1
    """Cell of the latent space, 0 to 255."""


UNKNOWN = Measures()
"""Statistics of a sample that was not measured."""


def measure_samples(samples: Sequence[Sample]) -> list[Measures]:
    """Compute the statistics of samples of equal size, in order."""
    if not samples:
        return []
    height, width = samples[0].mask.shape
    num_looked_at = len(laplacian_rows(height, width)) * max(0, width - 2)
    num_pairs = (height - 1) * width + height * (width - 1)
    found = [sample.counts for sample in samples]
    if None in found:
        found = list(count_pixels(samples))
    return [
        Measures(
            sharpness=round(_variance(counts, num_looked_at), 3),
            border=round(counts.border_pairs / max(1, num_pairs), 6),
            dhash=f"{counts.hash_bits:016x}",
            latent_cell=sample.latent_cell,
        )
        for sample, counts in zip(samples, found, strict=True)
        if counts is not None
    ]


def count_pixels(samples: Sequence[Sample]) -> list[PixelCounts]:
    """Count what the statistics of samples of equal size are made of, in order."""
    gray = _gray(np.stack([sample.image for sample in samples]))
    sums, squares = _laplacian(gray)
    pairs = _border_pairs(np.stack([sample.mask for sample in samples]))
    rows = zip(difference_hashes(gray), sums, squares, pairs, strict=True)
    return [PixelCounts(*map(int, row)) for row in rows]


def _variance(counts: PixelCounts, num_pixels: int) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000)."""
    if not num_pixels:
        return 0.0
    # In float64, as datasets have it: whole numbers of any size would round otherwise.
    total, squares = float(counts.laplacian_sum), float(counts.laplacian_squares)
    return (squares * num_pixels - total * total) / num_pixels**2


def latent_cells(z: Float[np.ndarray, "n z"]) -> Int64[np.ndarray, " n"]:
    """The cell of each latent, 0 to `NUM_CELLS` - 1: on which side of eight fixed random planes it lies.

    Source: Charikar 2002, "Similarity estimation techniques from rounding algorithms", section 3,
    with planes of +1, -1 and 0 (Achlioptas 2003) and latents in steps of 1/1024: sums of integers do
    not depend on their order. No coordinate belongs to two planes, so that the sides are
    independent and normal latents fall into all cells with equal probability.
    """
    steps = np.rint(np.clip(z, -1024, 1024) * 1024).astype(np.int64)
    above = (steps @ _planes(z.shape[1])) > 0
    cells: np.ndarray = above @ (1 << np.arange(_CELL_BITS, dtype=np.int64))
    return cells


@lru_cache(maxsize=8)
def _planes(width: int) -> np.ndarray:
    signs = counter_rng("cells", 0, width).integers(0, 2, (width, _CELL_BITS))
    own = np.arange(width)[:, None] % _CELL_BITS == np.arange(_CELL_BITS)
    return np.where(own, 2 * signs - 1, 0)


def difference_hashes(gray: np.ndarray) -> UInt64[np.ndarray, " n"]:
    """dHash: one bit for each of 8 x 8 places of an image, set if brightness increases to the right.

    Args:
        gray: Images, integers, `n h w`, at least 8 rows and 9 columns; smaller ones hash to 0.

    Source: Krawetz 2013, "Kind of like that" (dHash), with exact box means in place of a resize.
    """
    num_images, height, width = gray.shape
    if height < HASH_ROWS or width < HASH_COLUMNS:
        return np.zeros(num_images, dtype=np.uint64)
    rows = np.arange(HASH_ROWS + 1) * height // HASH_ROWS
    columns = np.arange(HASH_COLUMNS + 1) * width // HASH_COLUMNS
    sums = np.add.reduceat(gray, rows[:-1], axis=1, dtype=np.int32)
    sums = np.add.reduceat(sums, columns[:-1], axis=2, dtype=np.int64)
    widths = np.diff(columns)
    # Sums weighted crosswise by widths, in place of quotients: means are compared without rounding.
    brighter = sums[:, :, 1:] * widths[:-1] > sums[:, :, :-1] * widths[1:]
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    bits: np.ndarray = brighter.reshape(num_images, 64).astype(np.uint64) @ weights
    return bits


def _gray(images: UInt8[np.ndarray, "n h w 3"]) -> np.ndarray:
    """Luma (Rec. 601) in 256 levels, int16, for a Laplacian that can be negative."""
    red, green, blue = map(np.uint16, LUMA)  # 256 together: nothing exceeds uint16
    gray = images[..., 0].astype(np.uint16)
    gray *= red
    gray += images[..., 1] * green
    gray += images[..., 2] * blue
    gray >>= 8
    return gray.view(np.int16)


def laplacian_rows(height: int, width: int) -> Int64[np.ndarray, " r"]:
    """The rows of an image at which its Laplacian is looked at: at most 128, evenly spaced."""
    # They estimate the variance well enough to find broken images, at a fixed cost.
    if height < 3 or width < 3:
        return np.zeros(0, dtype=np.int64)
    count = min(_MOST_ROWS, height - 2)
    rows: np.ndarray = 1 + np.arange(count) * (height - 2) // count
    return rows


def _laplacian(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the Laplacian, and of its squares, over the rows of each image that are looked at."""
    _, height, width = gray.shape
    rows = laplacian_rows(height, width)
    if not len(rows):
        return np.zeros(len(gray)), np.zeros(len(gray))
    middle = gray[:, rows]
    laplacian = middle[:, :, 1:-1] * np.int16(-4)
    laplacian += middle[:, :, :-2]
    laplacian += middle[:, :, 2:]
    laplacian += gray[:, rows - 1, 1:-1]
    laplacian += gray[:, rows + 1, 1:-1]
    flat = laplacian.reshape(len(gray), -1).astype(np.float64)  # integers, exact below 2^53
    return flat.sum(axis=1), np.einsum("np,np->n", flat, flat)


def _border_pairs(masks: UInt8[np.ndarray, "n h w"]) -> np.ndarray:
    differ: np.ndarray = (masks[:, 1:] != masks[:, :-1]).sum(axis=(1, 2))
    differ += (masks[:, :, 1:] != masks[:, :, :-1]).sum(axis=(1, 2))
    return differ
