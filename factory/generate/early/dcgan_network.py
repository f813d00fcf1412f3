"""The DCGAN network in the layout of the PyTorch examples, for inference only.

Source: Radford et al. 2016, "Unsupervised representation learning with deep convolutional
generative adversarial networks", section 3. The usual file is a `torch.nn.Sequential` named `main`:
transposed convolutions of 4x4 taps at 0, 3, 6 ..., each but the last followed by batch
normalisation and a ReLU. The first maps one pixel to 4x4, every further one doubles the resolution.
Other chains of convolutions are computed if their strides and paddings are given, which no checkpoint
contains. Of a class-conditional network, the last inputs are the one-hot label.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.errors import WeightsError
from factory.generate.numerics import Numerics
from factory.generate.weights.find import TensorBag

_KERNEL = 4
_OUTPUT_ACTIVATIONS = ("tanh", "sigmoid", "none")
_SLOPES = {"relu": 0.0, "leaky_relu": 0.2}
"""Slope below zero, by the name of the activation between layers."""


@dataclass(frozen=True, slots=True)
class LayerLayout:
    """Name, stride and padding of a convolution."""

    name: str
    """Tensor name prefix; it ends in the position within its `Sequential`, if it is in one."""
    transposed: bool
    """Whether it is a transposed convolution."""
    stride: int
    """Its stride."""
    padding: int
    """Its padding."""

    norm: str | None = None
    """Tensor name prefix of the batch normalisation that follows; empty for none, None = told from
    the positions."""

    def sibling(self, distance: int) -> str:
        """The name of the module `distance` positions later in the same `Sequential`; else empty."""
        stem, dot, number = self.name.rpartition(".")
        return f"{stem}{dot}{int(number) + distance}" if number.isdecimal() else ""

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
        norm = layout.sibling(1) if layout.norm is None else layout.norm
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
        self.layout = layout
        # A layer outside of a `Sequential` has no name for its activation but its own.
        self.activation_name = layout.sibling(2 if has_norm else 1) or layout.name
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
                `bn_eps` (else 1e-5), `classes` (else 0) and, for another layout than the usual one,
                `layers`: a list of `name`, `kind` (`conv` or `conv_transpose`), `stride`, `padding`
                and `norm`. Widths, kernels, biases and the resolution are inferred from the tensors.
            at: Device and precision.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        self.at = at
        self._slope = _SLOPES[one_of(kwargs, "hidden_activation", tuple(_SLOPES))]
        self._output_activation = one_of(kwargs, "output_activation", _OUTPUT_ACTIVATIONS)
        eps = kwargs.get("bn_eps", 1e-5)
        self.layers = [Layer(bag, layout, eps, at) for layout in _layouts(bag, kwargs)]
        bag.finish()
        kernels = [layer.kernel for layer in self.layers]
        if "layers" not in kwargs and set(kernels) != {_KERNEL}:
            raise WeightsError(
                f"DCGAN: found kernels of {kernels} taps; the usual layout has {_KERNEL} everywhere; "
                "give the strides and paddings of this one as kwargs `layers`"
            )
        self.num_classes = int(kwargs.get("classes") or 0)
        self.z_dim = self.layers[0].in_channels - self.num_classes
        self.sides: list[int] = []
        for layer in self.layers:
            before = self.sides[-1] if self.sides else 1
            self.sides.append(max(0, layer.layout.side_after(before, layer.kernel)))
        self.resolution = self.sides[-1]
        self.img_channels = self.layers[-1].channels
        wanted = kwargs.get("img_resolution") or self.resolution
        if wanted != self.resolution or not all(self.sides) or self.z_dim < 1:
            raise WeightsError(
                f"DCGAN kwargs: img_resolution is {wanted} and classes {self.num_classes}, but the "
                f"layers make maps of {self.sides} pixels from {self.layers[0].in_channels} inputs; "
                "correct the strides and paddings of `layers`, or `classes`"
            )

    def synthesise(
        self,
        z: Float[Tensor, "n z"],
        classes: Int64[Tensor, " n"] | None = None,
        wanted: Collection[str] = (),
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, nominally -1 to 1) and the feature maps named in `wanted`.

        Feature maps are named after the activation that outputs them (`main.2`, `main.5` ...).
        `classes` are needed if the network has any.
        """
        if classes is not None:
            z = torch.cat([z, functional.one_hot(classes, self.num_classes).to(z.dtype)], dim=1)
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
                norm=layer.get("norm"),
            )
            for layer in given
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"DCGAN kwargs: layers without a whole specification ({type(error).__name__} {error}); "
            "each needs name, kind, stride and padding; the last two are not in a checkpoint: look "
            "them up in the code that made it"
        ) from error


def one_of(kwargs: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str:
    """The setting `name`, which is one of `allowed`; the first of them if it is not given.

    Raises:
        WeightsError: If it is something else.
    """
    found = kwargs.get(name, allowed[0])
    if found not in allowed:
        raise WeightsError(
            f"DCGAN kwargs: {name} is {found!r}; allowed: {', '.join(allowed)}; convert again"
        )
    return str(found)
