"""The batch types that stay on the device, between the generator and the encoder.

They are not in `data.py` because they hold torch tensors, and planning must not import torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from factory.data import Instances


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images of a batch with the requested feature maps, still on the device."""

    images: UInt8[Tensor, "n h w 3"]
    """RGB, 0 to 255. Grey images have three equal channels; images with alpha lie on white."""
    features: Mapping[str, Float[Tensor, "n _c _h _w"]]
    """Feature maps by layer name, each at its own resolution, after activation."""
    rgba: UInt8[Tensor, "n h w 4"] | None = None
    """The same images with their alpha, not premultiplied, which is what the dataset stores; None for
    a generator without alpha."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """What a network made of latents, before it becomes bytes: gradients flow through it."""

    colours: Float[Tensor, "n c h w"]
    """Raw colours of the network, float32, nominally -1 to 1, not clamped: grey, RGB or RGB and
    alpha."""
    features: Mapping[str, Float[Tensor, "n _c _h _w"]]
    """Feature maps by layer name, as in `ImageBatch`."""
    to_pixels: Callable[[Float[Tensor, "n c h w"]], UInt8[Tensor, "n h w c"]]
    """Converts the colours to bytes, as this family does."""


@dataclass(frozen=True, slots=True)
class MaskBatch:
    """Masks of a batch, still on the device."""

    masks: UInt8[Tensor, "n h w"]
    """Class ids below the number of classes; 255 = ignore."""
    confidence: Float[Tensor, " n"]
    """Confidence in each mask, 0 to 1: the mean over its pixels without those that no class claims, or
    its expected IoU."""
    class_px: Int64[Tensor, "n k"]
    """Pixels of each class in each mask."""
    confidence_by_px: Float[Tensor, "n h w"] | None = None
    """Confidence of each pixel, 0 to 1, 0 where no class claims it; None if the method has none."""
    rejections: tuple[str, ...] = ()
    """For each mask the reason for which it is rejected, as a short word for the record, or "".
    Empty if the method rejects nothing."""
    alpha: Float[Tensor, "n h w"] | None = None
    """The foreground's share of each pixel, 0 to 1; None if the method has none."""
    cleaned_px: Int64[Tensor, " n"] | None = None
    """Pixels of each mask that its clean-up changed; None if there is none."""
    agreement: Float[Tensor, " n"] | None = None
    """Mean IoU of each mask with those of other methods, 0 to 1; None if there are none."""
    instances: tuple[Instances, ...] = ()
    """The objects of each image, on the host. Empty if the method separates no instances."""
