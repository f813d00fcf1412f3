"""Upsample coarse maps, and align their edges with those of an image by a guided filter.

Source: He, Sun and Tang 2013 (TPAMI), "Guided image filtering", section 3.5 (colour guide): near
each pixel the map is an affine function of the guide's three colours.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def upsample(maps: Float[Tensor, "k h w"], size: tuple[int, int]) -> Float[Tensor, "k h2 w2"]:
    """Resize bilinearly to `size` (rows, columns), with pixels as areas (corners not aligned)."""
    if maps.shape[1:] == size:
        return maps
    return functional.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def guided_filter(
    maps: Float[Tensor, "k h w"], guide: Float[Tensor, "3 h w"], radius: int, epsilon: float
) -> Float[Tensor, "k h w"]:
    """Filter `maps` with a colour guide, in windows of `2 * radius + 1` pixels.

    Args:
        maps: Any values, float32.
        guide: RGB, 0 to 1.
        radius: Of the window in pixels, at least 1.
        epsilon: Regularisation: variance of the guide below which the maps are smoothed.

    Returns:
        The filtered maps; they may leave the range of `maps` by a little.
    """
    # All means in one call: the box filter is limited by memory traffic, not by arithmetic.
    num_maps, height, width = maps.shape
    cross = (guide[:, None] * maps).flatten(0, 1)
    square = (guide[:, None] * guide).flatten(0, 1)
    means = _box(torch.cat([maps, guide, cross, square]), radius)
    mean_map, mean_guide, cross, square = torch.split(means, [num_maps, 3, 3 * num_maps, 9])
    cross = cross.view(3, num_maps, height, width) - mean_guide[:, None] * mean_map
    square = square.view(3, 3, height, width) - mean_guide[:, None] * mean_guide
    slope = _solved(square, cross, epsilon)
    offset = mean_map - (slope * mean_guide[:, None]).sum(dim=0)
    smooth = _box(torch.cat([slope.flatten(0, 1), offset]), radius)
    slope, offset = smooth[:-num_maps].view(3, num_maps, height, width), smooth[-num_maps:]
    return (slope * guide[:, None]).sum(dim=0) + offset


def _box(maps: Tensor, radius: int) -> Tensor:
    """The mean of each window; border pixels are repeated."""
    # Rows, then columns: the cost is linear in the radius, not quadratic.
    padded = functional.pad(maps[None], (radius,) * 4, mode="replicate")
    rows = functional.avg_pool2d(padded, (2 * radius + 1, 1), stride=1)
    return functional.avg_pool2d(rows, (1, 2 * radius + 1), stride=1)[0]


def _solved(square: Tensor, right: Tensor, epsilon: float) -> Tensor:
    """Solve the symmetric 3x3 system at every pixel by cofactors (Cramer's rule)."""
    # A library's batched solver pays more for each tiny matrix, and pivots differently per device.
    a, b, c = square[0, 0] + epsilon, square[0, 1], square[0, 2]
    d, e, f = square[1, 1] + epsilon, square[1, 2], square[2, 2] + epsilon
    cofactors = (d * f - e * e, c * e - b * f, b * e - c * d)
    determinant = a * cofactors[0] + b * cofactors[1] + c * cofactors[2]
    rows = (
        cofactors,
        (cofactors[1], a * f - c * c, b * c - a * e),
        (cofactors[2], b * c - a * e, a * d - b * b),
    )
    sums = [sum(part * r for part, r in zip(row, right, strict=True)) for row in rows]
    return torch.stack([torch.as_tensor(total) for total in sums]) / determinant
