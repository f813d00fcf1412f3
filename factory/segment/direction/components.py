"""Connected parts of many masks at once, on their device: 8 neighbours, no loop over images.

Every pixel begins as a part of its own. In each round the number of a part falls to the least one that
touches it, and chains of such links are cut short, so that a few rounds are enough for any shape.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

_STRAIGHT, _DIAGONAL = 1.0, 2**0.5
_STEPS = {
    **dict.fromkeys((5, 7, 15, 17, 25, 27), _STRAIGHT),
    **dict.fromkeys((21, 33), _DIAGONAL),
    **dict.fromkeys((13, 23), (_STRAIGHT + _DIAGONAL) / 2),
}
"""Length of the outline at one of its pixels, by which neighbours are of the outline too (`_WEIGHTS`):
Benkrid, Crookes and Benkrid 2000, "Design and FPGA implementation of a perimeter estimator"."""

_WEIGHTS = ((10.0, 2.0, 10.0), (2.0, 1.0, 2.0), (10.0, 2.0, 10.0))


def number_parts(masks: Bool[Tensor, "n h w"]) -> Int64[Tensor, "n h w"]:
    """The 8-connected part of each pixel; -1 outside of the masks.

    A part is called after its first pixel in reading order, counted through all masks, so that parts of
    two masks never share a number.
    """
    places = torch.arange(masks.numel(), device=masks.device)
    parents = places.clone()
    flat = masks.flatten()
    inside = places[flat]
    while True:
        numbers = torch.where(flat, parents, masks.numel()).view(masks.shape)
        least = _least_around(numbers, masks.numel()).flatten()[inside]
        own = parents[inside]
        if torch.equal(least, own):
            break
        parents.scatter_reduce_(0, own, least, "amin")
        while not torch.equal(shorter := parents[parents], parents):
            parents = shorter
    return torch.where(flat, parents, -1).view(masks.shape)


def _least_around(numbers: Int64[Tensor, "n h w"], outside: int) -> Int64[Tensor, "n h w"]:
    """The least number in the 3 x 3 pixels around each; `outside` of the image."""
    # Whole numbers: those of a large batch exceed what a float of a pooling layer can hold.
    wide = functional.pad(numbers, (1, 1, 1, 1), value=outside)
    rows = torch.minimum(torch.minimum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return torch.minimum(torch.minimum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def keep_large(masks: Bool[Tensor, "n h w"], over: float) -> Bool[Tensor, "n h w"]:
    """Each mask without the parts whose area is at most `over` times that of its largest."""
    sizes, largest = _sizes(masks)
    # A product in float64, not a ratio in float32: a part of exactly a fifth must not round up.
    return masks & (sizes.double() > over * largest.double()[:, None, None])


def largest_part(masks: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """The largest part of each mask; of equals the first in reading order."""
    numbers = number_parts(masks)
    sizes, largest = _sizes(masks, numbers)
    is_largest = masks & (sizes == largest[:, None, None])
    first = torch.where(is_largest, numbers, numbers.numel()).amin(dim=(1, 2))
    return is_largest & (numbers == first[:, None, None])


def perimeters(masks: Bool[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """The length of each mask's outline, in pixels."""
    solid = functional.pad(masks, (1, 1, 1, 1))
    inner = (
        solid[:, :-2, 1:-1] & solid[:, 2:, 1:-1] & solid[:, 1:-1, :-2] & solid[:, 1:-1, 2:]
    )  # fmt: skip
    outline = (masks & ~inner).float()
    weights = torch.tensor(_WEIGHTS, device=masks.device)[None, None]
    kinds = functional.conv2d(outline[:, None], weights, padding=1)[:, 0].round().long()
    steps = torch.zeros(1 + int(sum(map(sum, _WEIGHTS))), dtype=torch.float64, device=masks.device)
    for kind, length in _STEPS.items():
        steps[kind] = length
    return steps[kinds].sum(dim=(1, 2))


def _sizes(
    masks: Bool[Tensor, "n h w"], numbers: Int64[Tensor, "n h w"] | None = None
) -> tuple[Int64[Tensor, "n h w"], Int64[Tensor, " n"]]:
    """The area of each pixel's part, 0 outside, and that of the largest part of each mask."""
    numbers = number_parts(masks) if numbers is None else numbers
    counts = torch.bincount(numbers.flatten() + 1, minlength=masks.numel() + 1)
    sizes = torch.where(masks, counts[numbers + 1], 0)
    return sizes, sizes.amax(dim=(1, 2))
