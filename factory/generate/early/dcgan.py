"""DCGAN generators in the layout of the PyTorch examples.

Source: Radford et al. 2016, "Unsupervised representation learning with deep convolutional
generative adversarial networks", section 3. The usual file is a `torch.nn.Sequential` named `main`:
transposed convolutions of 4x4 taps at 0, 3, 6 ..., each but the last followed by batch
normalisation and a ReLU. The first maps one pixel to 4x4, every further one doubles the resolution.
Other chains of convolutions are read if their strides and paddings are given, which no checkpoint
contains.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.errors import WeightsError
from factory.generate.base import LayerShape
from factory.generate.batch import ImageBatch
from factory.generate.contract import (
    check_cutoff,
    check_layers,
    check_noise,
    facts_of,
    numerics,
    open_weights,
    z_of,
)
from factory.generate.numerics import Numerics, to_bytes
from factory.generate.weights.find import TensorBag
from factory.spec import GeneratorSpec

_KERNEL = 4
_OUTPUT_ACTIVATIONS = ("tanh", "sigmoid", "none")
_SLOPES = {"relu": 0.0, "leaky_relu": 0.2}
"""Slope below zero, by the name of the activation between layers."""
_LATENTS = ("normal", "uniform")


@dataclass(frozen=True, slots=True)
class LayerLayout:
    """Name, stride and padding of a convolution."""

    name: str
    """Tensor name prefix; it ends in the position within its `Sequential`."""
    transposed: bool
    """Whether it is a transposed convolution."""
    stride: int
    """Its stride."""
    padding: int
    """Its padding."""

    def sibling(self, distance: int) -> str:
        """The name of the module `distance` positions later in the same `Sequential`.

        Raises:
            WeightsError: If the name does not end in a position.
        """
        stem, dot, number = self.name.rpartition(".")
        if not number.isdecimal():
            raise WeightsError(
                f"DCGAN layer {self.name!r}: its name does not end in a number, so what follows it is"
                " unknown; write a plugin for this layout"
            )
        return f"{stem}{dot}{int(number) + distance}"

    def side_after(self, side: int, kernel: int) -> int:
        """Rows of the output for an input of `side` rows."""
        if self.transposed:
            return (side - 1) * self.stride + kernel - 2 * self.padding
        return (side + 2 * self.padding - kernel) // self.stride + 1


class Layer:
    """A convolution with the following batch normalisation folded into its weights."""

    def __init__(self, bag: TensorBag, layout: LayerLayout, eps: float, at: Numerics) -> None:
        """Take the tensors of the convolution and of the normalisation, if there is one."""
        weight = bag.take(f"{layout.name}.weight")
        inputs, outputs = (0, 1) if layout.transposed else (1, 0)
        self.in_channels, self.channels = weight.shape[inputs], weight.shape[outputs]
        self.kernel = weight.shape[2]
        has_bias = f"{layout.name}.bias" in bag
        bias = bag.take(f"{layout.name}.bias", self.channels) if has_bias else torch.zeros(())
        norm = layout.sibling(1)
        has_norm = f"{norm}.running_mean" in bag
        if has_norm:
            scale = (bag.take(f"{norm}.running_var", self.channels) + eps).rsqrt()
            scale = scale * bag.take(f"{norm}.weight", self.channels)
            bias = (bias - bag.take(f"{norm}.running_mean", self.channels)) * scale
            bias = bias + bag.take(f"{norm}.bias", self.channels)
            columns = scale[None] if layout.transposed else scale[:, None]
            weight = weight * columns[:, :, None, None]
            if f"{norm}.num_batches_tracked" in bag:
                bag.take(f"{norm}.num_batches_tracked")
        self.layout, self.activation_name = layout, layout.sibling(2 if has_norm else 1)
        self._weight = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
        self._bias = bias.expand(self.channels)[:, None, None].to(at.device)

    def __call__(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """The layer's float32 sums, before its activation."""
        convolve = functional.conv_transpose2d if self.layout.transposed else functional.conv2d
        maps = convolve(x, self._weight, stride=self.layout.stride, padding=self.layout.padding)
        return maps.float().add_(self._bias)


class Network:
    """The generator network, built from the tensors of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: Mapping[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`.

        Args:
            bag: Tensors named `main.*`, or as `kwargs` say.
            kwargs: What shapes do not tell: `output_activation` (`tanh`, `sigmoid` or `none`; else
                `tanh`), `hidden_activation` (`relu`, or `leaky_relu` of slope 0.2; else `relu`),
                `bn_eps` (else 1e-5) and, for another layout than the usual one, `layers`: a list of
                `name`, `kind` (`conv` or `conv_transpose`), `stride` and `padding`. Widths, kernels,
                biases and the resolution are inferred from the tensors.
            at: Device and precision.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        self.at = at
        self._slope = _SLOPES[_one_of(kwargs, "hidden_activation", tuple(_SLOPES))]
        self._output_activation = _one_of(kwargs, "output_activation", _OUTPUT_ACTIVATIONS)
        eps = kwargs.get("bn_eps", 1e-5)
        self.layers = [Layer(bag, layout, eps, at) for layout in _layouts(bag, kwargs)]
        bag.finish()
        kernels = [layer.kernel for layer in self.layers]
        if "layers" not in kwargs and set(kernels) != {_KERNEL}:
            raise WeightsError(
                f"DCGAN: found kernels of {kernels} taps; the usual layout has {_KERNEL} everywhere; "
                "give the strides and paddings of this one as kwargs `layers`"
            )
        self.z_dim = self.layers[0].in_channels
        self.sides: list[int] = []
        for layer in self.layers:
            before = self.sides[-1] if self.sides else 1
            self.sides.append(layer.layout.side_after(before, layer.kernel))
        self.resolution = self.sides[-1]
        wanted = kwargs.get("img_resolution") or self.resolution
        if wanted != self.resolution:
            raise WeightsError(
                f"DCGAN kwargs: img_resolution is {wanted}, but the layers make maps of {self.sides} "
                "pixels; correct the strides and paddings of `layers`"
            )

    def synthesise(
        self, z: Float[Tensor, "n z"], wanted: Collection[str] = ()
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, nominally -1 to 1) and the feature maps named in `wanted`.

        Feature maps are named after the activation that outputs them (`main.2`, `main.5` ...).
        """
        x = z[:, :, None, None].to(self.at.dtype)
        features = {}
        for layer in self.layers[:-1]:
            x = functional.leaky_relu_(layer(x), self._slope).to(self.at.dtype)
            if layer.activation_name in wanted:
                features[layer.activation_name] = x
        image = self.layers[-1](x)
        if self._output_activation == "sigmoid":
            image = torch.sigmoid(image) * 2 - 1
        elif self._output_activation == "tanh":
            image = torch.tanh(image)
        return image, features


def _layouts(bag: TensorBag, kwargs: Mapping[str, Any]) -> list[LayerLayout]:
    """The layers given in `kwargs`, or those of the usual layout: 4x4, then doubling."""
    given = kwargs.get("layers")
    if given is None:
        prefix = "main." if "main.0.weight" in bag else ""
        names = [f"{prefix}0"]
        while (name := f"{prefix}{3 * len(names)}") + ".weight" in bag:
            names.append(name)
        first = LayerLayout(names[0], transposed=True, stride=1, padding=0)
        return [
            first,
            *(LayerLayout(name, transposed=True, stride=2, padding=1) for name in names[1:]),
        ]
    try:
        return [
            LayerLayout(
                str(layer["name"]),
                transposed=layer["kind"] == "conv_transpose",
                stride=int(layer["stride"]),
                padding=int(layer["padding"]),
            )
            for layer in given
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"DCGAN kwargs: layers without a whole specification ({type(error).__name__} {error}); "
            "each needs name, kind, stride and padding; the last two are not in a checkpoint: look "
            "them up in the code that made it"
        ) from error


def _one_of(kwargs: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str:
    found = kwargs.get(name, allowed[0])
    if found not in allowed:
        raise WeightsError(
            f"DCGAN kwargs: {name} is {found!r}; allowed: {', '.join(allowed)}; convert again"
        )
    return str(found)


class DCGAN:
    """The generator plugin `dcgan`. Reads safetensors in the tensor names of the PyTorch examples.

    `latents.truncation_psi` scales z, whose mean is zero. Besides the network's own kwargs it reads
    `latent`: `normal` (the default) or `uniform` from -1 to 1.
    """

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a DCGAN.
            JobError: If the job asks for noise per sample: this family has no noise inputs.
        """
        check_noise(spec)
        content = open_weights(spec, weights)
        self._latent = _one_of(content.kwargs, "latent", _LATENTS)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        self.facts = facts_of(
            content,
            resolution=self.network.resolution,
            num_classes=0,
            layers={
                layer.activation_name: LayerShape(layer.channels, side, side)
                for layer, side in zip(
                    self.network.layers[:-1], self.network.sides[:-1], strict=True
                )
            },
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one latent from the distribution stated in the file's kwargs."""
        if self._latent == "uniform":
            return rng.uniform(-1, 1, self.network.z_dim).astype(np.float32)
        return rng.standard_normal(self.network.z_dim, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` (RGB bytes) and the feature maps named in `layers`.

        Raises:
            JobError: If a layer is unknown, or a truncation cutoff is set.
        """
        check_layers(layers, self.facts)
        check_cutoff(latents)
        z = z_of(latents, self.network.at.device) * latents.truncation_psi
        images, features = self.network.synthesise(z, layers)
        return ImageBatch(to_bytes(images), features)
