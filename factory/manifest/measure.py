"""Sample statistics without a network: sharpness, mask borders, perceptual hash, cell of the latent.

Everything is integer arithmetic until the last division, so that results are equal on all machines.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt64

from factory.data import Sample
from factory.identity import counter_rng
from factory.manifest.labels import Facts

NUM_CELLS = 256
"""Number of cells that the latent space is divided into, 2^8."""

_CELL_BITS = 8
_MOST_ROWS = 128
_HASH_ROWS, _HASH_COLUMNS = 8, 9

MIN_HASHED_HEIGHT, MIN_HASHED_WIDTH = _HASH_ROWS, _HASH_COLUMNS
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
    gray = _gray(np.stack([sample.image for sample in samples]))
    masks = np.stack([sample.mask for sample in samples])
    hashes = difference_hashes(gray)
    sharpness, border = _sharpness(gray), _border(masks)
    return [
        Measures(
            sharpness=round(float(sharpness[i]), 3),
            border=round(float(border[i]), 6),
            dhash=f"{int(hashes[i]):016x}",
            latent_cell=sample.latent_cell,
        )
        for i, sample in enumerate(samples)
    ]


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
    if height < _HASH_ROWS or width < _HASH_COLUMNS:
        return np.zeros(num_images, dtype=np.uint64)
    rows = np.arange(_HASH_ROWS + 1) * height // _HASH_ROWS
    columns = np.arange(_HASH_COLUMNS + 1) * width // _HASH_COLUMNS
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
    # 77, 150 and 29 are the weights times 256: they sum to 256, so that nothing exceeds uint16.
    gray = images[..., 0].astype(np.uint16)
    gray *= 77
    gray += images[..., 1] * np.uint16(150)
    gray += images[..., 2] * np.uint16(29)
    gray >>= 8
    return gray.view(np.int16)


def _sharpness(gray: np.ndarray) -> np.ndarray:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) over at most 128 rows of each image."""
    # Evenly spaced rows estimate the variance well enough to find broken images, at a fixed cost.
    _, height, width = gray.shape
    if height < 3 or width < 3:
        return np.zeros(len(gray))
    rows = 1 + np.arange(min(_MOST_ROWS, height - 2)) * (height - 2) // min(_MOST_ROWS, height - 2)
    middle = gray[:, rows]
    laplacian = middle[:, :, 1:-1] * np.int16(-4)
    laplacian += middle[:, :, :-2]
    laplacian += middle[:, :, 2:]
    laplacian += gray[:, rows - 1, 1:-1]
    laplacian += gray[:, rows + 1, 1:-1]
    flat = laplacian.reshape(len(gray), -1).astype(np.float64)  # integers, exact below 2^53
    count = flat.shape[1]
    total = flat.sum(axis=1)
    squares = np.einsum("np,np->n", flat, flat)
    spread: np.ndarray = (squares * count - total * total) / count**2
    return spread


def _border(masks: UInt8[np.ndarray, "n h w"]) -> np.ndarray:
    _, height, width = masks.shape
    differ = (masks[:, 1:] != masks[:, :-1]).sum(axis=(1, 2))
    differ += (masks[:, :, 1:] != masks[:, :, :-1]).sum(axis=(1, 2))
    share: np.ndarray = differ / max(1, (height - 1) * width + height * (width - 1))
    return share
