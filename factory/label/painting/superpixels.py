"""Superpixels: small regions of one colour, to which a brush snaps.

SLIC (Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", PAMI 2012):
k-means on colour (CIELAB) and place, each centre looking at its surroundings alone; then parts that are
cut off from their region and small become part of what surrounds them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt16

from factory.segment.objects.components import number_components

SIZES = {"fine": (24, 3), "coarse": (12, 5)}
"""How many superpixels a page's choice has along a side, and how wide each is at least."""

_ROUNDS = 10
_COMPACTNESS = 10.0
"""Distance in colour that counts as much as one region's side in place, as in the paper."""

_RGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_WHITE = _RGB_TO_XYZ.sum(axis=1)


def find_superpixels(image: UInt8[np.ndarray, "h w 3"], side_px: int) -> UInt16[np.ndarray, "h w"]:
    """Number the superpixels of an image from 0; each is connected, and about `side_px` wide."""
    search = _Search(_to_lab(image), side_px)
    for _ in range(_ROUNDS):
        search.step()
    return _connected(search.nearest, side_px * side_px // 4)


def number_superpixels(image: UInt8[np.ndarray, "h w 3"], size: str) -> bytes:
    """The superpixels of one of `SIZES`: each pixel's number in two bytes, the lower one first."""
    count, least = SIZES[size]
    found = find_superpixels(image, max(least, len(image) // count))
    return found.astype("<u2").tobytes()


@dataclass(slots=True, init=False)
class _Search:
    """The k-means of SLIC."""

    lab: Float32[np.ndarray, "h w 3"]
    side: int
    rows: Float32[np.ndarray, " k"]
    columns: Float32[np.ndarray, " k"]
    colours: Float32[np.ndarray, "k 3"]
    nearest: Int64[np.ndarray, "h w"]

    def __init__(self, lab: Float32[np.ndarray, "h w 3"], side: int) -> None:
        height, width, _ = lab.shape
        rows, columns = (np.arange(side // 2, length, side) for length in (height, width))
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        self.lab, self.side = lab, side
        self.rows, self.columns = grid.T.astype(np.float32)
        self.colours = lab[grid[:, 0], grid[:, 1]]
        # Where no centre looks, at the far border, the nearest place of the grid holds.
        down = np.minimum(np.arange(height) // side, len(rows) - 1)
        across = np.minimum(np.arange(width) // side, len(columns) - 1)
        self.nearest = down[:, None] * len(columns) + across[None]

    def step(self) -> None:
        """Give every pixel to a centre near it, and move the centres to the means of theirs."""
        height, width, _ = self.lab.shape
        least = np.full((height, width), np.inf, dtype=np.float32)
        scale = (_COMPACTNESS / self.side) ** 2
        for at in range(len(self.rows)):
            row, column = self.rows[at], self.columns[at]
            top, left = max(0, int(row) - self.side), max(0, int(column) - self.side)
            window = np.s_[top : int(row) + self.side + 1, left : int(column) + self.side + 1]
            away = np.square(self.lab[window] - self.colours[at]).sum(axis=2)
            down = np.square(np.arange(top, top + away.shape[0]) - row)
            across = np.square(np.arange(left, left + away.shape[1]) - column)
            away += scale * (down[:, None] + across[None])
            is_nearer = away < least[window]
            least[window][is_nearer] = away[is_nearer]
            self.nearest[window][is_nearer] = at
        self._move_centres()

    def _move_centres(self) -> None:
        height, width, _ = self.lab.shape
        ids, count = self.nearest.ravel(), len(self.rows)
        sizes = np.bincount(ids, minlength=count)
        rows, columns = np.divmod(np.arange(height * width), width)
        held = sizes > 0
        for target, values in (
            (self.rows, rows),
            (self.columns, columns),
            *((self.colours[:, band], self.lab[..., band].ravel()) for band in range(3)),
        ):
            sums = np.bincount(ids, values, count)
            target[held] = sums[held] / sizes[held]


def _connected(nearest: Int64[np.ndarray, "h w"], fewest_px: int) -> UInt16[np.ndarray, "h w"]:
    """Every connected part by itself, those of fewer pixels with the neighbour they touch most."""
    parts = _number_parts(nearest)
    sizes = np.bincount(parts.ravel()).tolist()
    touching = _contacts(parts, len(sizes))
    joined = list(range(len(sizes)))
    for part in sorted(range(len(sizes)), key=sizes.__getitem__):
        if sizes[part] >= fewest_px or not touching[part]:
            continue
        target = max(touching[part], key=lambda other: (touching[part][other], -other))
        joined[part] = target
        sizes[target] += sizes[part]
        for other, length in touching.pop(part).items():
            del touching[other][part]
            if other != target:
                touching[other][target] = touching[other].get(target, 0) + length
                touching[target][other] = touching[target].get(other, 0) + length
    roots = np.array(joined)
    while not np.array_equal(roots[roots], roots):
        roots = roots[roots]
    _, numbers = np.unique(roots[parts], return_inverse=True)
    return numbers.reshape(nearest.shape).astype(np.uint16)


def _number_parts(nearest: Int64[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    """Number the connected parts of equal values from 0."""
    height, width = nearest.shape
    # A lattice with a place between each two pixels, which is open if they are alike.
    lattice = np.zeros((2 * height - 1, 2 * width - 1), dtype=bool)
    lattice[::2, ::2] = True
    lattice[::2, 1::2] = nearest[:, :-1] == nearest[:, 1:]
    lattice[1::2, ::2] = nearest[:-1] == nearest[1:]
    return number_components(lattice)[::2, ::2] - 1


def _contacts(parts: Int64[np.ndarray, "h w"], count: int) -> dict[int, dict[int, int]]:
    """For each part its neighbours, with the length of the border between them."""
    across = np.stack([parts[:, :-1].ravel(), parts[:, 1:].ravel()])
    down = np.stack([parts[:-1].ravel(), parts[1:].ravel()])
    pairs = np.concatenate([across, down], axis=1)
    pairs = np.sort(pairs[:, pairs[0] != pairs[1]], axis=0)
    codes, lengths = np.unique(pairs[0] * count + pairs[1], return_counts=True)
    found: dict[int, dict[int, int]] = {part: {} for part in range(count)}
    for code, length in zip(codes.tolist(), lengths.tolist(), strict=True):
        one, other = divmod(code, count)
        found[one][other] = found[other][one] = length
    return found


def _to_lab(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """SRGB (0 to 255) to CIELAB, white at D65."""
    plain = image.astype(np.float64) / 255
    light = np.where(plain <= 0.04045, plain / 12.92, ((plain + 0.055) / 1.055) ** 2.4)
    xyz = light @ _RGB_TO_XYZ.T / _WHITE
    roots = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return lab.astype(np.float32)
