"""Building blocks shared by both BigGAN layouts: convolution, normalisation, attention.

Source: Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis",
appendix B (BigGAN and BigGAN-deep), and Zhang et al. 2019, "Self-attention generative adversarial
networks", section 3. Where we differ: batch normalisation and its class-conditional gain are one
scale and one shift per sample and channel; a 1x1 shortcut runs before the upsampling it commutes
with. Weights arrive here already divided by their spectral norm.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics


class Conv:
    """A convolution that keeps the size of its input."""

    def __init__(
        self, weight: Float[Tensor, "o i k k"], bias: Float[Tensor, " o"] | None, at: Numerics
    ) -> None:
        """Move the weights to the device and precision of `at`."""
        self._weight = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
        self._bias = None if bias is None else bias.to(at.device, at.dtype)
        self._padding = weight.shape[2] // 2
        self.in_channels, self.channels = weight.shape[1], weight.shape[0]

    def __call__(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        """Convolve `x`."""
        return functional.conv2d(x, self._weight, self._bias, padding=self._padding)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Running mean and variance of a batch normalisation."""

    mean: Float[Tensor, " c"]
    """Mean of each channel."""
    variance: Float[Tensor, " c"]
    """Variance of each channel."""


def normalised_relu(
    x: Float[Tensor, "n c h w"],
    statistics: Statistics,
    gain: Float[Tensor, "m c"],
    offset: Float[Tensor, "m c"],
    *,
    eps: float,
) -> Float[Tensor, "n c h w"]:
    """Batch normalisation with stored statistics, a gain and an offset per sample, and a ReLU."""
    scale = gain * (statistics.variance + eps).rsqrt()
    shift = offset - statistics.mean * scale
    scale, shift = (term[:, :, None, None].to(x.dtype) for term in (scale, shift))
    return torch.addcmul(shift, x, scale).relu_()


def doubled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Double the resolution by repeating pixels (nearest neighbour)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class SelfAttention:
    """Self-attention over all pixels, with keys and values at half resolution."""

    def __init__(
        self, *, theta: Conv, phi: Conv, g: Conv, o: Conv, gamma: Float[Tensor, "..."]
    ) -> None:
        """Use the four 1x1 convolutions and the strength `gamma`, a single number."""
        self._theta, self._phi, self._g, self._o = theta, phi, g, o
        self._gamma = float(gamma)
        self.channels = o.channels

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """`x` plus the attended values; the softmax is computed in float32."""
        query = self._theta(x).flatten(2)
        key = functional.max_pool2d(self._phi(x), 2).flatten(2)
        value = functional.max_pool2d(self._g(x), 2).flatten(2)
        weights = (query.transpose(1, 2) @ key).float().softmax(dim=-1).to(x.dtype)
        found = (value @ weights.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:])
        return x + self._gamma * self._o(found)


def to_bytes_floored(images: Float[Tensor, "n c h w"], *, scale: float) -> UInt8[Tensor, "n h w c"]:
    """Convert images from -1 to 1 to bytes: floor(clip(scale (x + 1), 0, 255))."""
    scaled = ((images + 1) * scale).clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1)
