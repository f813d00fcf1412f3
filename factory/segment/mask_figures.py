"""Figures of whole masks, on the device: pixels of each class, and mean confidence."""

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

_FEW_CLASSES = 64


def count_px(masks: UInt8[Tensor, "n h w"], num_classes: int) -> Int64[Tensor, "n k"]:
    """The number of pixels of each class in each mask; other values are not counted."""
    if masks.device.type != "cpu" and num_classes <= _FEW_CLASSES:
        return count_each(masks, num_classes)
    count, bins = len(masks), num_classes + 1
    offsets = torch.arange(count, device=masks.device)[:, None] * bins
    ids = masks.view(count, -1).clamp(max=bins - 1).long() + offsets
    counts = torch.bincount(ids.view(-1), minlength=count * bins)
    return counts.view(count, bins)[:, :-1]


def count_each(masks: UInt8[Tensor, "n h w"], num_classes: int) -> Int64[Tensor, "n k"]:
    """The same, class by class.

    A histogram has to be told its length, for which the host would wait for a GPU.
    """
    flat = masks.flatten(1)
    return torch.stack([(flat == label).sum(dim=1) for label in range(num_classes)], dim=1)


def mean_of_claimed(
    by_px: Float[Tensor, "n h w"], claimed: Bool[Tensor, "n h w"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n h w"]]:
    """The mean confidence of each mask over its claimed pixels, and the confidence of each pixel.

    A pixel that no class claims has confidence 0; a mask without claimed pixels has it too.
    """
    by_px = torch.where(claimed, by_px, 0)
    return by_px.sum(dim=(1, 2)) / claimed.sum(dim=(1, 2)).clamp(min=1), by_px
