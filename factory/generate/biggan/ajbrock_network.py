"""BigGAN and BigGAN-deep networks in the layout of ajbrock's BigGAN-PyTorch, inference only.

Source: Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis",
appendix B. A checkpoint is a bare state dict: the whole structure is inferred from tensor shapes,
except for the number of blocks per resolution of BigGAN-deep.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.errors import WeightsError
from factory.generate.biggan.blocks import Conv, SelfAttention, Statistics, doubled, normalised_relu
from factory.generate.numerics import Numerics
from factory.generate.weights.find import TensorBag


def _take_normalised(bag: TensorBag, name: str) -> Tensor:
    """Take a weight divided by its spectral norm; unchanged if the file has no singular vectors for it.

    The original runs one step of power iteration on every call and, in evaluation, discards it. The
    same step is taken here, once: with the stored vector alone, images differ. Further singular
    vectors are only logged there.
    """
    weight = bag.take(f"{name}.weight")
    if f"{name}.u0" not in bag:
        return weight
    matrix = weight.flatten(1)
    v = functional.normalize(bag.take(f"{name}.u0") @ matrix)
    u = functional.normalize(v @ matrix.T)
    _drop(bag, f"{name}.sv0")
    extra = 1
    while _drop(bag, f"{name}.u{extra}") and _drop(bag, f"{name}.sv{extra}"):
        extra += 1
    return weight / (v @ matrix.T @ u.T).squeeze()


def _drop(bag: TensorBag, name: str) -> bool:
    """Take and discard a tensor that inference does not need; returns whether it existed."""
    found = name in bag
    if found:
        bag.take(name)
    return found


def _take_conv(bag: TensorBag, name: str, at: Numerics, *, biased: bool) -> Conv:
    weight = _take_normalised(bag, name)
    bias = bag.take(f"{name}.bias", weight.shape[0]) if biased else None
    return Conv(weight, bias, at)


def _take_statistics(bag: TensorBag, name: str, device: torch.device) -> Statistics:
    """Take the batch statistics; three variants of batch normalisation store them in different places.

    "Standing statistics" are sums; a counter gives the number of batches.
    """
    if f"{name}.bn.running_mean" in bag:
        mean, variance = bag.take(f"{name}.bn.running_mean"), bag.take(f"{name}.bn.running_var")
        _drop(bag, f"{name}.bn.num_batches_tracked")
        return Statistics(mean.to(device), variance.to(device))
    prefix = f"{name}.bn" if f"{name}.bn.stored_mean" in bag else name
    mean, variance = bag.take(f"{prefix}.stored_mean"), bag.take(f"{prefix}.stored_var")
    if f"{prefix}.accumulation_counter" in bag:
        count = max(float(bag.take(f"{prefix}.accumulation_counter")), 1.0)
        mean, variance = mean / count, variance / count
    return Statistics(mean.to(device), variance.to(device))


class ConditionalNorm:
    """Class-conditional batch normalisation followed by a ReLU."""

    def __init__(
        self, bag: TensorBag, name: str, *, shared: bool, eps: float, device: torch.device
    ) -> None:
        """Take the tensors below `name`: linear layers if `shared`, else embeddings."""
        self._statistics = _take_statistics(bag, name, device)
        self._gain, self._offset = (
            _take_normalised(bag, f"{name}.{part}").to(device) for part in ("gain", "bias")
        )
        self._shared, self._eps = shared, eps
        self.condition_dim = self._gain.shape[1] if shared else 0
        self.num_classes = 0 if shared else self._gain.shape[0]

    def __call__(self, x: Float[Tensor, "n c h w"], condition: Tensor) -> Float[Tensor, "n c h w"]:
        """Normalise `x`; `condition` holds vectors if embeddings are shared, else class ids."""
        if self._shared:
            gain, offset = condition @ self._gain.T, condition @ self._offset.T
        else:
            gain, offset = self._gain[condition], self._offset[condition]
        return normalised_relu(x, self._statistics, 1 + gain, offset, eps=self._eps)


class Block:
    """A residual block: two 3x3 convolutions, or BigGAN-deep's bottleneck of four."""

    def __init__(
        self, bag: TensorBag, name: str, *, up: bool, shared: bool, eps: float, at: Numerics
    ) -> None:
        """Take the tensors below `name`; their names determine the kind of block."""
        numbers = range(1, 5 if f"{name}.conv4.weight" in bag else 3)
        self.norms = [
            ConditionalNorm(bag, f"{name}.bn{i}", shared=shared, eps=eps, device=at.device)
            for i in numbers
        ]
        self._convs = [_take_conv(bag, f"{name}.conv{i}", at, biased=True) for i in numbers]
        has_shortcut = f"{name}.conv_sc.weight" in bag
        self._shortcut = (
            _take_conv(bag, f"{name}.conv_sc", at, biased=True) if has_shortcut else None
        )
        self.up, self._up_before = up, len(self._convs) // 2 - 1
        self.in_channels, self.channels = self._convs[0].in_channels, self._convs[-1].channels

    def __call__(
        self, x: Float[Tensor, "n i h w"], condition: Tensor
    ) -> Float[Tensor, "n o h2 w2"]:
        """Residual branch plus shortcut."""
        maps = x
        for position, (norm, conv) in enumerate(zip(self.norms, self._convs, strict=True)):
            maps = norm(maps, condition)
            if self.up and position == self._up_before:
                maps = doubled(maps)
            maps = conv(maps)
        shortcut = self._shortcut(x) if self._shortcut else x[:, : self.channels]
        return maps.add_(doubled(shortcut) if self.up else shortcut)


class Network:
    """The generator network, built from the tensors of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: Mapping[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`.

        Args:
            bag: Tensors under the names of `G_ema.pth`.
            kwargs: `BN_eps` (else 1e-5); for BigGAN-deep `G_depth`, the blocks per resolution (else
                2, as in all published models). Everything else is inferred from the tensors.
            at: Device and precision.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        self.at = at
        self._shared = bag.take("shared.weight").to(at.device) if "shared.weight" in bag else None
        self._linear = _take_normalised(bag, "linear").to(at.device)
        self._linear_bias = bag.take("linear.bias", len(self._linear)).to(at.device)
        self.is_deep = "blocks.0.0.conv4.weight" in bag
        self.layers: dict[str, Block | SelfAttention] = {}
        self._add_layers(bag, kwargs)
        self._statistics = _take_statistics(bag, "output_layer.0", at.device)
        self._gain, self._offset = (
            bag.take(f"output_layer.0.{part}")[None].to(at.device) for part in ("gain", "bias")
        )
        self._to_rgb = Conv(_take_normalised(bag, "output_layer.2"), None, at)
        self._rgb_bias = bag.take("output_layer.2.bias")[:, None, None].to(at.device)
        self.img_channels = len(self._rgb_bias)
        bag.finish()
        self._set_widths()

    def _add_layers(self, bag: TensorBag, kwargs: Mapping[str, Any]) -> None:
        depth = int(kwargs.get("G_depth", 2)) if self.is_deep else 1
        eps = kwargs.get("BN_eps", 1e-5)
        index = 0
        while f"blocks.{index}.0.conv1.weight" in bag:
            name = f"blocks.{index}.0"
            self.layers[name] = Block(
                bag,
                name,
                up=(index + 1) % depth == 0,
                shared=self._shared is not None,
                eps=eps,
                at=self.at,
            )
            name = f"blocks.{index}.1"
            if f"{name}.gamma" in bag:
                convs = {
                    part: _take_conv(bag, f"{name}.{part}", self.at, biased=False)
                    for part in ("theta", "phi", "g", "o")
                }
                self.layers[name] = SelfAttention(**convs, gamma=bag.take(f"{name}.gamma"))
            index += 1

    def _set_widths(self) -> None:
        """Infer from shapes where z and the class enter: the first layer only, or every block.

        Raises:
            WeightsError: If the shapes fit no known BigGAN.
        """
        blocks = [layer for layer in self.layers.values() if isinstance(layer, Block)]
        norm, in_dim = blocks[0].norms[0], self._linear.shape[1]
        class_dim = 0 if self._shared is None else self._shared.shape[1]
        self.num_classes = norm.num_classes if self._shared is None else len(self._shared)
        self.chunk_dim = norm.condition_dim - class_dim
        if self.is_deep and self.chunk_dim > 0:
            self.z_dim = self.chunk_dim
            fits = in_dim == norm.condition_dim
        else:
            self.z_dim = in_dim if self.chunk_dim <= 0 else in_dim * (len(blocks) + 1)
            fits = self.chunk_dim <= 0 or in_dim == self.chunk_dim
        if not fits:
            raise WeightsError(
                f"BigGAN: the first layer takes {in_dim} numbers and the blocks "
                f"{norm.condition_dim}, of which {class_dim} for the class; no known BigGAN does"
            )
        self.bottom = math.isqrt(len(self._linear) // blocks[0].in_channels)
        self.resolution = self.bottom << sum(block.up for block in blocks)

    def _inputs(self, z: Tensor, classes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The input of the first layer, and the condition of each block."""
        num_blocks = sum(isinstance(layer, Block) for layer in self.layers.values())
        if self._shared is None:
            return z, [classes] * num_blocks
        embedded = self._shared[classes]
        if self.chunk_dim <= 0:
            return z, [embedded] * num_blocks
        if self.is_deep:
            condition = torch.cat([embedded, z], dim=1)
            return condition, [condition] * num_blocks
        first, *others = torch.split(z, self.chunk_dim, dim=1)
        return first, [torch.cat([embedded, chunk], dim=1) for chunk in others]

    def synthesise(
        self,
        z: Float[Tensor, "n z"],
        classes: Int64[Tensor, " n"],
        wanted: Collection[str] = (),
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, -1 to 1) and the feature maps named in `wanted`."""
        first, conditions = self._inputs(z, classes)
        start = functional.linear(first, self._linear, self._linear_bias)
        x = start.reshape(len(z), -1, self.bottom, self.bottom)
        x = x.to(self.at.dtype, memory_format=torch.channels_last)
        features = {}
        remaining = iter(conditions)
        for name, layer in self.layers.items():
            x = layer(x, next(remaining)) if isinstance(layer, Block) else layer(x)
            if name in wanted:
                features[name] = x
        # The original's last normalisation has a fixed epsilon, independent of BN_eps.
        x = normalised_relu(x, self._statistics, self._gain, self._offset, eps=1e-5)
        return torch.tanh(self._to_rgb(x).float() + self._rgb_bias), features
