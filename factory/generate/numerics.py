"""Arithmetic shared by several network families."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_bytes(images: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n h w 3"]:
    """Convert to bytes as NVIDIA does: floor(clamp(127.5 x + 128, 0, 255)). Grey becomes RGB."""
    # Not the usual round(127.5 (x + 1)): published images were made with 128 and truncation.
    scaled = (images * 127.5 + 128).clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)


def second_moment_normalised(x: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Divide each row by its root mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


@dataclass(frozen=True, slots=True)
class Numerics:
    """Device and data type of the synthesis layers."""

    device: torch.device
    dtype: torch.dtype
