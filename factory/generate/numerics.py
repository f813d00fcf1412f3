"""Arithmetic shared by several network families."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from factory.generate.batch import ImageBatch, Rendering

_RGB, _RGBA = 3, 4


def to_bytes(images: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n h w c"]:
    """Convert to bytes as NVIDIA does: floor(clamp(127.5 x + 128, 0, 255))."""
    # Not the usual round(127.5 (x + 1)): published images were made with 128 and truncation.
    scaled = (images * 127.5 + 128).clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1)


def finish_images(rendering: Rendering) -> ImageBatch:
    """Convert colours to bytes; the feature maps stay as they are."""
    pixels = rendering.to_pixels(rendering.colours.detach())
    return make_image_batch(pixels, rendering.features)


def make_image_batch(
    pixels: UInt8[Tensor, "n h w c"], features: Mapping[str, Tensor]
) -> ImageBatch:
    """Make the batch of images with 1 (grey), 3 (RGB) or 4 channels (RGB and alpha)."""
    if pixels.shape[-1] == _RGBA:
        return ImageBatch(flatten_on_white(pixels), features, pixels)
    return ImageBatch(pixels.expand(-1, -1, -1, _RGB), features)


def flatten_on_white(pixels: UInt8[Tensor, "n h w 4"]) -> UInt8[Tensor, "n h w 3"]:
    """Lay images with alpha on white, rounded to the nearest byte.

    In whole numbers, as `pack/image.py` does when such an image is read back: both are equal.
    """
    wide = pixels.to(torch.int32)
    colours, alpha = wide[..., :_RGB], wide[..., _RGB:]
    blended = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.to(torch.uint8)


def colours_on_white(colours: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
    """Make a network's raw colours (nominally -1 to 1) RGB: grey is repeated, alpha lies on white."""
    if colours.shape[1] != _RGBA:
        return colours.expand(-1, _RGB, -1, -1)
    share = ((colours[:, _RGB:] + 1) / 2).clamp(0, 1)
    return colours[:, :_RGB] * share + (1 - share)


def second_moment_normalised(x: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Divide each row by its root mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


@dataclass(frozen=True, slots=True)
class Numerics:
    """Device, data type and form of the synthesis layers."""

    device: torch.device
    dtype: torch.dtype
    dense: bool | None = None
    """Whether filters are written as dense products, which tensor cores compute for next to nothing,
    and not as depthwise convolutions, which do less arithmetic; None = as suits the device."""

    @property
    def is_dense(self) -> bool:
        """Whether filters are dense. The only place that chooses a form by device.

        On an H200 three quarters of a StyleGAN2's time went into the depthwise blur; on a CPU, which
        pays for every multiplication, the dense form is the slower one.
        """
        return self.device.type == "cuda" if self.dense is None else self.dense
