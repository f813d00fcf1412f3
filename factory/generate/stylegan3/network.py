"""The StyleGAN3-t, StyleGAN3-r and StyleGAN-XL network, inference only.

Source: Karras et al. 2021, "Alias-free generative adversarial networks"; Sauer et al. 2022,
"StyleGAN-XL: scaling StyleGAN to large diverse datasets" (class embedding, a mean w per class,
super-resolution). Where we differ: styles are normalised per sample instead of over the batch
(equal in exact arithmetic, because demodulation cancels the factor), so a sample does not depend on
its neighbours; weights are shared by the batch as in `stylegan2/network.py`. Tensor names are
NVIDIA's.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.errors import WeightsError
from factory.generate.numerics import Numerics, second_moment_normalised
from factory.generate.stylegan2.mapping import Linear
from factory.generate.stylegan3.filters import FilteredLeakyReLU
from factory.generate.stylegan3.geometry import InputGeometry, LayerGeometry, make_geometry
from factory.generate.weights.find import TensorBag


class DoubleLinear(Linear):
    """A fully connected layer in float64.

    The rounding of float32 sums depends on the number of rows, hence on the batch, and the sines of
    the Fourier features magnify it. These layers cost next to nothing compared with the convolutions.
    """

    def __init__(self, bag: TensorBag, name: str, gain: float, device: torch.device) -> None:
        """Take `name.weight` and `name.bias`; `gain` is the layer's learning-rate multiplier."""
        super().__init__(bag, name, gain, device)
        self.weight, self.bias = self.weight.double(), self.bias.double()

    def __call__(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """`x W^T + b`, in float64."""
        return functional.linear(x.double(), self.weight, self.bias)


class StyleMapping:
    """The mapping network of StyleGAN3 or of StyleGAN-XL: latents and classes to w."""

    def __init__(self, bag: TensorBag, lr_multiplier: float, device: torch.device) -> None:
        """Take the tensors below `mapping.`, with as many layers as there are."""
        self._class_codes = _class_codes(bag, device)
        self._layers: list[DoubleLinear] = []
        while f"mapping.fc{len(self._layers)}.weight" in bag:
            name = f"mapping.fc{len(self._layers)}"
            self._layers.append(DoubleLinear(bag, name, lr_multiplier, device))
        self._w_avg = bag.take("mapping.w_avg").to(device)
        self._has_centres = self._w_avg.ndim == 2
        self.z_dim = self._layers[0].weight.shape[1]
        self.w_dim = self._layers[-1].weight.shape[0]
        self.num_classes = 0
        if self._class_codes is not None:
            self.z_dim -= self._class_codes.shape[1]
            # StyleGAN-XL keeps all 1000 rows of its embedding, however few classes were trained
            self.num_classes = len(self._w_avg if self._has_centres else self._class_codes)

    def centre(self, classes: Int64[Tensor, " n"] | None) -> Float[Tensor, "m w_dim"]:
        """The centre of truncation: the mean w, one per class in StyleGAN-XL, else one for all."""
        return self._w_avg[classes] if self._has_centres else self._w_avg[None]

    def __call__(
        self, z: Float[Tensor, "n z"], classes: Int64[Tensor, " n"] | None
    ) -> Float[Tensor, "n w_dim"]:
        """W of each latent and class id; `classes` is None for a network without classes."""
        x = second_moment_normalised(z)
        if self._class_codes is not None:
            x = torch.cat([x, self._class_codes[classes]], dim=1)
        for layer in self._layers:
            x = _activated(layer(x))
        return x.float()


def _class_codes(bag: TensorBag, device: torch.device) -> Tensor | None:
    """The embedding of each class in the mapping's input, one row per class; None without classes."""
    if "mapping.embed_proj.weight" in bag:  # StyleGAN-XL
        projection = DoubleLinear(bag, "mapping.embed_proj", 1.0, device)
        embedding = bag.take("mapping.embed.weight").to(device)
        return second_moment_normalised(_activated(projection(embedding)))
    if "mapping.embed.bias" in bag:  # StyleGAN3: a linear layer of one-hot labels
        embed = DoubleLinear(bag, "mapping.embed", 1.0, device)
        return second_moment_normalised(embed.weight.T + embed.bias)
    if "mapping.embed.weight" in bag:  # StyleGAN-XL without classes keeps one it never reads
        bag.take("mapping.embed.weight")
    return None


def _activated(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


class FourierInput:
    """Fourier features: sine waves over the image plane, rotated and shifted by w."""

    def __init__(self, bag: TensorBag, geometry: InputGeometry, device: torch.device) -> None:
        """Take the tensors below `synthesis.input`."""
        prefix = "synthesis.input"
        self._affine = DoubleLinear(bag, f"{prefix}.affine", 1.0, device)
        self._freqs = bag.take(f"{prefix}.freqs").to(device).double()
        self.channels = self._freqs.shape[0]
        self._phases = bag.take(f"{prefix}.phases", self.channels).to(device).double()
        self._transform = bag.take(f"{prefix}.transform", 3, 3).to(device).double()
        weight = bag.take(f"{prefix}.weight", self.channels, self.channels)
        self._weight = (weight / math.sqrt(self.channels)).T.to(device)
        self._bandwidth, self._nyquist = geometry.bandwidth, geometry.rate / 2
        centres = (torch.arange(geometry.size, dtype=torch.float64) + 0.5) * 2 / geometry.size - 1
        centres = (centres * (geometry.size / (2 * geometry.rate))).to(device)
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        self._grid = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
        self.size = geometry.size

    def __call__(self, w: Float[Tensor, "n w_dim"]) -> Float[Tensor, "n c h w"]:
        """The features in float32; phases and frequencies are computed in float64."""
        transform = self._motion(w) @ self._transform
        phases = self._phases + (self._freqs @ transform[:, :2, 2:]).squeeze(2)
        freqs = self._freqs @ transform[:, :2, :2]
        # A transform may push a frequency towards the sampling limit; fading it out avoids
        # aliasing.
        excess = torch.linalg.vector_norm(freqs, dim=2) - self._bandwidth
        amplitudes = (1 - excess / (self._nyquist - self._bandwidth)).clamp(0, 1)
        waves = self._grid @ freqs.transpose(1, 2) + phases[:, None]
        waves = torch.sin(waves * (2 * math.pi)) * amplitudes[:, None]
        maps: Tensor = (waves.float() @ self._weight).reshape(
            len(w), self.size, self.size, self.channels
        )
        return maps.permute(0, 3, 1, 2)

    def _motion(self, w: Tensor) -> Tensor:
        """The 3x3 matrices of the rotation and the translation that w encodes."""
        t = self._affine(w)
        length = torch.linalg.vector_norm(t[:, :2], dim=1, keepdim=True)
        cosine, sine, right, down = (t / length).unbind(1)
        zero, one = torch.zeros_like(sine), torch.ones_like(sine)
        rotation = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
        translation = [one, zero, -right, zero, one, -down, zero, zero, one]
        turned = torch.stack(rotation, dim=1).reshape(-1, 3, 3)
        moved = torch.stack(translation, dim=1).reshape(-1, 3, 3)
        return turned @ moved


class SynthesisLayer:
    """A modulated convolution with filtered leaky ReLU, or the modulated 1x1 layer of the colours."""

    def __init__(self, bag: TensorBag, geometry: LayerGeometry, at: Numerics) -> None:
        """Take the tensors below the layer's name.

        Raises:
            WeightsError: If tensors are missing, or rates change without a filter for it.
        """
        prefix = f"synthesis.{geometry.name}"
        weight = bag.take(f"{prefix}.weight")
        self.channels, kernel = weight.shape[0], weight.shape[2]
        self.geometry, self._at, self._pad = geometry, at, kernel - 1
        self._affine = DoubleLinear(bag, f"{prefix}.affine", 1.0, at.device)
        fan_in = weight[0].numel()
        self._input_gain = float(bag.take(f"{prefix}.magnitude_ema").rsqrt())
        bias = bag.take(f"{prefix}.bias", self.channels)
        self._energy: Tensor | None = None
        if geometry.is_torgb:
            self._input_gain /= math.sqrt(fan_in)
        else:
            # Filters of unit length keep sums within half precision; demodulation cancels the
            # scale.
            weight = weight / weight.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
            self._energy = weight.square().sum(dim=(2, 3)).T.to(at.device)
            bias = bias * math.sqrt(2)
        # The original normalises filters to unit mean square, that is to length sqrt(fan_in),
        # before it adds 1e-8 under the root; ours have length one, so the same epsilon is 1e-8 /
        # fan_in.
        self._eps = 1e-8 / fan_in
        self._weight = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
        self._bias = bias[None, :, None, None].to(at.device, at.dtype)
        self._activation = FilteredLeakyReLU(
            geometry,
            up_taps=_filter(bag, f"{prefix}.up_filter", geometry.up),
            down_taps=_filter(bag, f"{prefix}.down_filter", geometry.down),
            kernel=kernel,
            channels=self.channels,
            at=at,
        )

    def __call__(
        self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n w_dim"]
    ) -> Float[Tensor, "n o h2 w2"]:
        """The layer's activations, margin included."""
        style = self._affine(w).float()
        if self._energy is not None:
            style = second_moment_normalised(style)
        x = x * (style * self._input_gain)[:, :, None, None].to(self._at.dtype)
        x = functional.conv2d(x, self._weight, padding=self._pad)
        if self._energy is None:
            return self._activation(x.add_(self._bias))
        scale = (style.square() @ self._energy + self._eps).rsqrt() * math.sqrt(2)
        return self._activation(
            torch.addcmul(self._bias, x, scale[:, :, None, None].to(self._at.dtype))
        )


def _filter(bag: TensorBag, name: str, factor: int) -> Tensor | None:
    """The taps of a filter; None = a single tap of 1. A change of rate requires a filter."""
    return bag.take(name) if factor > 1 or name in bag else None


class Network:
    """Mapping and synthesis networks, built from the tensors and kwargs of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: Mapping[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`; `kwargs` are those of `make_geometry`.

        Also read from `kwargs`: `mapping_kwargs.lr_multiplier` (else 0.01), `output_scale` (else
        0.25). Convolution kernels, radial filters and class counts are inferred from the tensors.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        geometry = make_geometry(kwargs)
        mapping = kwargs.get("mapping_kwargs", {})
        self.at = at
        self.mapping = StyleMapping(bag, mapping.get("lr_multiplier", 0.01), at.device)
        self.input = FourierInput(bag, geometry.input, at.device)
        self.layers = [SynthesisLayer(bag, layer, at) for layer in geometry.layers]
        self.output_scale = kwargs.get("output_scale", 0.25)
        bag.finish()
        self.resolution = geometry.layers[-1].out_size
        self.img_channels = self.layers[-1].channels
        self.num_ws = len(self.layers) + 1
        if kwargs.get("num_ws", self.num_ws) != self.num_ws:
            raise WeightsError(
                f"StyleGAN3 kwargs: num_ws is {kwargs['num_ws']}, but the {len(self.layers)} layers "
                f"take {self.num_ws} style rows; convert the checkpoint again"
            )

    def styles(
        self,
        z: Float[Tensor, "n z"],
        classes: Int64[Tensor, " n"] | None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
    ) -> Float[Tensor, "n rows w_dim"]:
        """Style rows (W+); the first `cutoff` are truncated towards the (class's) mean w by `psi`."""
        ws = self.mapping(z, classes)[:, None].repeat(1, self.num_ws, 1)
        if psi != 1:
            centre = self.mapping.centre(classes)[:, None]
            ws[:, :cutoff] = centre.lerp(ws[:, :cutoff], psi)
        return ws

    def synthesise(
        self, ws: Float[Tensor, "n rows w_dim"], wanted: Collection[str] = ()
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, nominally -1 to 1, not clamped) and the `wanted` feature maps.

        Maps are named as layers are (`L3_52_512`; `input` for the Fourier features), come in the
        synthesis precision, margin included, and before the output scale.
        """
        x = self.input(ws[:, 0])
        features = {"input": x} if "input" in wanted else {}
        x = x.to(self.at.dtype)
        for row, layer in enumerate(self.layers, start=1):
            x = layer(x, ws[:, row])
            if layer.geometry.name in wanted:
                features[layer.geometry.name] = x
        return x.float() * self.output_scale, features
