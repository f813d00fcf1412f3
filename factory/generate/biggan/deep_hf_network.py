"""BigGAN-deep in the layout of Hugging Face's pytorch-pretrained-BigGAN, for inference only.

Source: Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis",
appendix B. The files hold batch statistics for 51 truncations, and a job's truncation selects the
rows. Between two rows the original code interpolates with the weights exchanged; that is reproduced
here, because the published images were made with it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.errors import WeightsError
from factory.generate.biggan.blocks import (
    Conv,
    SelfAttention,
    Statistics,
    doubled,
    normalised_relu,
)
from factory.generate.numerics import Numerics
from factory.generate.weights.find import TensorBag

_PREFIX = "generator"


def _take_normalised(bag: TensorBag, name: str) -> Tensor:
    """Take a weight divided by its spectral norm, computed from the stored singular vectors."""
    weight = bag.take(f"{name}.weight_orig")
    u, v = bag.take(f"{name}.weight_u"), bag.take(f"{name}.weight_v")
    return weight / torch.dot(u, weight.flatten(1) @ v)


def _take_conv(bag: TensorBag, name: str, at: Numerics, *, biased: bool) -> Conv:
    bias = bag.take(f"{name}.bias") if biased else None
    return Conv(_take_normalised(bag, name), bias, at)


class TruncatedStatistics:
    """Batch statistics at evenly spaced truncations from 0 to 1."""

    def __init__(self, bag: TensorBag, name: str, device: torch.device) -> None:
        """Take `name.running_means` and `name.running_vars`."""
        self._means = bag.take(f"{name}.running_means").to(device)
        self._variances = bag.take(f"{name}.running_vars", *self._means.shape).to(device)

    def at(self, truncation: float) -> Statistics:
        """The statistics at `truncation` as the original computes them, exchanged weights included.

        The two floating-point operations are the original's: 0.28 / 0.02 is not exactly 14, so that a
        mathematically equal expression would select another row.
        """
        fraction, row = math.modf(truncation / (1.0 / (len(self._means) - 1)))
        first = int(row)
        if fraction == 0:
            return Statistics(self._means[first], self._variances[first])
        mean, variance = (
            rows[first] * fraction + rows[first + 1] * (1 - fraction)
            for rows in (self._means, self._variances)
        )
        return Statistics(mean, variance)


class ConditionalNorm:
    """Class-conditional batch normalisation followed by a ReLU."""

    def __init__(self, bag: TensorBag, name: str, eps: float, device: torch.device) -> None:
        """Take the tensors below `name`."""
        self._statistics = TruncatedStatistics(bag, name, device)
        self._scale = _take_normalised(bag, f"{name}.scale").to(device)
        self._offset = _take_normalised(bag, f"{name}.offset").to(device)
        self._eps = eps

    def __call__(
        self, x: Float[Tensor, "n c h w"], condition: Float[Tensor, "n d"], truncation: float
    ) -> Float[Tensor, "n c h w"]:
        """Normalise `x` with the statistics at `truncation`."""
        gain = 1 + functional.linear(condition, self._scale)
        offset = functional.linear(condition, self._offset)
        return normalised_relu(x, self._statistics.at(truncation), gain, offset, eps=self._eps)


class Block:
    """A residual bottleneck of four convolutions; the shortcut drops channels."""

    def __init__(self, bag: TensorBag, name: str, *, up: bool, eps: float, at: Numerics) -> None:
        """Take the tensors below `name`."""
        self._norms = [ConditionalNorm(bag, f"{name}.bn_{i}", eps, at.device) for i in range(4)]
        self._convs = [_take_conv(bag, f"{name}.conv_{i}", at, biased=True) for i in range(4)]
        self.up = up
        self.channels = self._convs[-1].channels

    def __call__(
        self, x: Float[Tensor, "n i h w"], condition: Float[Tensor, "n d"], truncation: float
    ) -> Float[Tensor, "n o h2 w2"]:
        """Residual branch plus shortcut."""
        maps = x
        for position, (norm, conv) in enumerate(zip(self._norms, self._convs, strict=True)):
            maps = norm(maps, condition, truncation)
            if self.up and position == 1:
                maps = doubled(maps)
            maps = conv(maps)
        shortcut = x[:, : self.channels]
        return maps.add_(doubled(shortcut) if self.up else shortcut)


class Network:
    """The generator network, built from the tensors and the config of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: Mapping[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`.

        Args:
            bag: Tensors under the names of `pytorch_model.bin`.
            kwargs: The file's config.json: `layers` (tensors do not show which of them upsample)
                and `eps` (else 1e-4). Everything else is inferred from the tensors.
            at: Device and precision.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        if "layers" not in kwargs:
            raise WeightsError(
                "BigGAN-deep kwargs: layers is missing; it is in the config.json beside the "
                "checkpoint; convert the checkpoint again with it"
            )
        eps = kwargs.get("eps", 1e-4)
        self.at = at
        self._embedding = bag.take("embeddings.weight").T.to(at.device)
        self._gen_z = _take_normalised(bag, f"{_PREFIX}.gen_z").to(at.device)
        self._gen_z_bias = bag.take(f"{_PREFIX}.gen_z.bias").to(at.device)
        self.num_classes = len(self._embedding)
        self.z_dim = self._gen_z.shape[1] - self._embedding.shape[1]
        self.layers: dict[str, Block | SelfAttention] = {}
        ups = [bool(layer[0]) for layer in kwargs["layers"]]
        self._add_layers(bag, ups, eps)
        self._norm = TruncatedStatistics(bag, f"{_PREFIX}.bn", at.device)
        self._gain = bag.take(f"{_PREFIX}.bn.weight")[None].to(at.device)
        self._offset = bag.take(f"{_PREFIX}.bn.bias")[None].to(at.device)
        self._eps = eps
        to_rgb = _take_normalised(bag, f"{_PREFIX}.conv_to_rgb")
        self._to_rgb = Conv(to_rgb[:3], None, at)
        self._rgb_bias = bag.take(f"{_PREFIX}.conv_to_rgb.bias")[:3, None, None].to(at.device)
        bag.finish()
        self.resolution = 4 << sum(ups)

    def _add_layers(self, bag: TensorBag, ups: Sequence[bool], eps: float) -> None:
        for up in ups:
            prefix = f"{_PREFIX}.layers.{len(self.layers)}"
            if f"{prefix}.gamma" in bag:
                name = f"layers.{len(self.layers)}"
                parts = {"theta": "theta", "phi": "phi", "g": "g", "o": "o_conv"}
                convs = {
                    part: _take_conv(bag, f"{prefix}.snconv1x1_{ending}", self.at, biased=False)
                    for part, ending in parts.items()
                }
                self.layers[name] = SelfAttention(**convs, gamma=bag.take(f"{prefix}.gamma"))
            name = f"layers.{len(self.layers)}"
            self.layers[name] = Block(bag, f"{_PREFIX}.{name}", up=up, eps=eps, at=self.at)

    def synthesise(
        self,
        z: Float[Tensor, "n z"],
        classes: Int64[Tensor, " n"],
        *,
        truncation: float,
        wanted: Collection[str] = (),
    ) -> tuple[Float[Tensor, "n 3 h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, -1 to 1) and the feature maps named in `wanted`.

        `z` is already multiplied by `truncation`, which here only selects the batch statistics.
        """
        condition = torch.cat([z, self._embedding[classes]], dim=1)
        # The first layer's output is stored channels last; ajbrock's is channels first.
        start = functional.linear(condition, self._gen_z, self._gen_z_bias)
        x = start.reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2).to(self.at.dtype)
        features = {}
        for name, layer in self.layers.items():
            x = layer(x, condition, truncation) if isinstance(layer, Block) else layer(x)
            if name in wanted:
                features[name] = x
        x = normalised_relu(x, self._norm.at(truncation), self._gain, self._offset, eps=self._eps)
        return torch.tanh(self._to_rgb(x).float() + self._rgb_bias), features
