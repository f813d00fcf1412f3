"""The StyleGAN (first version) network in the layout of genforce, inference only.

Source: Karras et al. 2019, "A style-based generator architecture for generative adversarial
networks", section 2 and appendix C. Where we differ: instance normalisation and the style are one
scale and one shift per sample and channel. Tensor names are genforce's.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.errors import JobError
from factory.generate.base import Silenced
from factory.generate.doubling import Blur, repeated_convolution
from factory.generate.early.growing import GrowingOutput
from factory.generate.numerics import Numerics, second_moment_normalised
from factory.generate.weights.find import TensorBag

NoiseMaps = dict[str, Float[Tensor, "_n 1 _h _w"]]
"""Unscaled noise maps by layer name, one or one per sample; a layer that is absent gets none."""
_KERNEL = 3
"""Taps of every convolution but that of a first layer without a constant, which has 4."""
_FUSED_FROM_PX = 128
"""From this resolution on, `fused_scale: auto` upsamples inside the convolution."""


@dataclass(frozen=True, slots=True)
class Gains:
    """The equalised learning rate: weights are scaled at run time as they were in training."""

    use_wscale: bool
    """Whether weights are scaled at all."""

    def gain(self, fan_in: int, base: float) -> float:
        """The factor for the weights of a layer with `fan_in` inputs."""
        return base / math.sqrt(fan_in) if self.use_wscale else 1.0


class MappingNetwork:
    """The mapping network: latents and class labels to w, in float64.

    The rounding of float32 sums depends on the number of rows, hence on the batch; mapping and styles
    cost next to nothing compared with the convolutions.
    """

    def __init__(
        self, bag: TensorBag, lr_multiplier: float, gains: Gains, device: torch.device
    ) -> None:
        """Take the tensors below `mapping.`, with as many layers as there are."""
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        while (name := f"mapping.dense{len(self._weights)}.weight") in bag:
            weight = bag.take(name)
            gain = lr_multiplier * gains.gain(weight.shape[1], math.sqrt(2))
            bias = bag.take(name.replace("weight", "bias"), len(weight)) * lr_multiplier
            self._weights.append((weight * gain).to(device).double())
            self._biases.append(bias.to(device).double())
        has_labels = "mapping.label_weight" in bag
        self._labels = bag.take("mapping.label_weight").to(device) if has_labels else None
        self.num_classes = 0 if self._labels is None else len(self._labels)
        self.z_dim = self._weights[0].shape[1] >> (1 if has_labels else 0)
        self.w_dim = len(self._weights[-1])

    def __call__(self, z: Float[Tensor, "n z"], classes: Tensor | None) -> Float[Tensor, "n w_dim"]:
        """W of each latent and class id; `classes` is None for a network without classes."""
        if self._labels is not None:
            z = torch.cat([z, self._labels[classes]], dim=1)
        x = second_moment_normalised(z.double())
        for weight, bias in zip(self._weights, self._biases, strict=True):
            x = functional.leaky_relu(functional.linear(x, weight, bias), 0.2)
        return x.float()


class Layer:
    """The constant or a convolution, then noise, leaky ReLU, instance normalisation and style."""

    def __init__(
        self, bag: TensorBag, name: str, *, fused: bool, gains: Gains, at: Numerics
    ) -> None:
        """Take the tensors below `synthesis.NAME`; a layer with a blur kernel upsamples."""
        prefix = f"synthesis.{name}"
        self.name, self._at = name, at
        self._const: Tensor | None = None
        self._blur: Blur | None = None
        self._convolve: Callable[[Tensor], Tensor]
        if f"{prefix}.const" in bag:
            self._const = bag.take(f"{prefix}.const").to(at.device, at.dtype)
            self.channels = self._const.shape[1]
        else:
            weight = bag.take(f"{prefix}.weight")
            self.channels = len(weight)
            padding = 1 if weight.shape[2] == _KERNEL else weight.shape[2] - 1
            weight = weight * gains.gain(weight[0].numel(), math.sqrt(2))
            if f"{prefix}.blur.kernel" in bag:
                self._blur = Blur(bag.take(f"{prefix}.blur.kernel"), at)
                self._convolve = repeated_convolution(weight, at, fused=fused)
            else:
                stored = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
                self._convolve = partial(functional.conv2d, weight=stored, padding=padding)
        self._bias = bag.take(f"{prefix}.bias", self.channels)[None, :, None, None].to(
            at.device, at.dtype
        )
        style = bag.take(f"{prefix}.style.weight")
        self._style = (style * gains.gain(style.shape[1], 1.0)).to(at.device).double()
        style_bias = bag.take(f"{prefix}.style.bias", 2 * self.channels)
        self._style_bias = style_bias.to(at.device).double()
        strength = bag.take(f"{prefix}.apply_noise.weight", self.channels)
        self._noise_strength = strength[None, :, None, None].to(at.device)
        noise = bag.take(f"{prefix}.apply_noise.noise")
        self.noise_const: Float[Tensor, "1 1 h w"] = noise.to(at.device)

    def __call__(
        self,
        x: Tensor | None,
        w: Float[Tensor, "n w_dim"],
        noise: Tensor | None,
        *,
        is_silent: bool = False,
    ) -> Float[Tensor, "n c h w"]:
        """Activations; `noise` is [n or 1, 1, h, w], not yet scaled; a silent layer's maps are 0."""
        x = self._maps(x, w)
        if is_silent:
            x = torch.zeros_like(x)
        if noise is not None:
            x = x + (noise * self._noise_strength).to(x.dtype)
        x = functional.leaky_relu(x + self._bias, 0.2)
        variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)
        styles = functional.linear(w.double(), self._style, self._style_bias).float()
        style, offset = styles.chunk(2, dim=1)
        scale = (style + 1) * (variance + 1e-8).rsqrt()
        shift = offset - mean * scale
        scale, shift = (term[:, :, None, None].to(x.dtype) for term in (scale, shift))
        return torch.addcmul(shift, x, scale)

    def _maps(self, x: Tensor | None, w: Tensor) -> Tensor:
        if self._const is not None:
            maps = self._const.repeat(len(w), 1, 1, 1)
            return maps.contiguous(memory_format=torch.channels_last)
        if x is None:  # a first layer without a constant takes w itself, as a single pixel
            x = w[:, :, None, None].to(self._at.dtype)
        maps = self._convolve(x)
        return maps if self._blur is None else self._blur(maps)


class ToRGB:
    """A 1x1 convolution to colours."""

    def __init__(self, bag: TensorBag, name: str, gains: Gains, at: Numerics) -> None:
        """Take the tensors below `name`."""
        weight = bag.take(f"{name}.weight")
        self.channels = len(weight)
        gain = gains.gain(weight.shape[1], 1.0)
        self._weight = (weight * gain).to(at.device, at.dtype)
        self._bias = bag.take(f"{name}.bias", self.channels)[:, None, None].to(at.device)

    def __call__(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n c h w"]:
        """Colours in float32."""
        return functional.conv2d(x, self._weight).float() + self._bias


class Network:
    """Mapping and synthesis networks, built from the tensors and kwargs of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: Mapping[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`.

        Args:
            bag: Tensors under genforce's names.
            kwargs: What shapes do not tell: `fused_scale` (`auto`, true or false; else `auto`),
                `mapping_lr_mul` (else 0.01), `use_wscale` (else true), `final_tanh` (else false).
            at: Device and precision.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        self.at = at
        gains = Gains(bool(kwargs.get("use_wscale", True)))
        self.mapping = MappingNetwork(bag, kwargs.get("mapping_lr_mul", 0.01), gains, at.device)
        self._w_avg: Tensor | None = None
        if "truncation.w_avg" in bag:
            self._w_avg = bag.take("truncation.w_avg", self.mapping.w_dim).to(at.device)
        fused_scale = kwargs.get("fused_scale", "auto")
        self.layers: list[Layer] = []
        self._to_rgbs: list[ToRGB] = []
        while f"synthesis.output{len(self._to_rgbs)}.weight" in bag:
            block = len(self._to_rgbs)
            fused = 4 << block >= _FUSED_FROM_PX if fused_scale == "auto" else bool(fused_scale)
            self.layers += [
                Layer(bag, f"layer{position}", fused=fused, gains=gains, at=at)
                for position in (2 * block, 2 * block + 1)
            ]
            self._to_rgbs.append(ToRGB(bag, f"synthesis.output{block}", gains, at))
        lod = float(bag.take("synthesis.lod")) if "synthesis.lod" in bag else 0.0
        self.output = GrowingOutput(lod, len(self._to_rgbs))
        self._final_tanh = bool(kwargs.get("final_tanh", False))
        bag.finish()
        self.resolution = 2 << len(self._to_rgbs)
        self.img_channels = self._to_rgbs[-1].channels
        self.num_ws = len(self.layers)

    def styles(
        self,
        z: Float[Tensor, "n z"],
        classes: Tensor | None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
    ) -> Float[Tensor, "n rows w_dim"]:
        """Style rows (W+); the first `cutoff` (None: all) are truncated towards the mean w by `psi`.

        Raises:
            JobError: If `psi` is not 1 and the checkpoint has no mean w.
        """
        ws = self.mapping(z, classes)[:, None].repeat(1, self.num_ws, 1)
        if psi != 1:
            if self._w_avg is None:
                raise JobError(
                    f"dataset.latents.truncation_psi: found {psi}; these weights hold no mean w to "
                    "truncate towards; use 1"
                )
            ws[:, :cutoff] = self._w_avg.lerp(ws[:, :cutoff], psi)
        return ws

    def const_noise(self) -> NoiseMaps:
        """The checkpoint's own noise maps."""
        return {layer.name: layer.noise_const for layer in self.layers}

    def synthesise(
        self,
        ws: Float[Tensor, "n rows w_dim"],
        noise: NoiseMaps,
        wanted: Collection[str] = (),
        *,
        silenced: Silenced | None = None,
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, nominally -1 to 1, not clamped) and the `wanted` feature maps.

        Feature maps are taken after the style, before the colours; `silenced`: see StyleGAN2's.
        """
        return self._run(ws.unbind(1), noise, wanted, silenced)

    def mix(
        self,
        base: Float[Tensor, "1 rows w_dim"],
        variants: Float[Tensor, "v rows w_dim"],
        noise: NoiseMaps,
        start: str,
    ) -> Float[Tensor, "v c h w"]:
        """Synthesise with the styles of `variants` from layer `start` on; earlier layers run once."""
        row = [layer.name for layer in self.layers].index(start)
        return self._run([*base.unbind(1)[:row], *variants.unbind(1)[row:]], noise, ())[0]

    def _run(
        self,
        rows: Sequence[Tensor],
        noise: NoiseMaps,
        wanted: Collection[str],
        silenced: Silenced | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x: Tensor | None = None
        image: Tensor | None = None
        features: dict[str, Tensor] = {}
        for block, to_rgb in enumerate(self._to_rgbs):
            if self.output.runs(block):
                for position in (2 * block, 2 * block + 1):
                    layer = self.layers[position]
                    is_silent = position == 0 and silenced == "constant"
                    x = layer(x, rows[position], noise.get(layer.name), is_silent=is_silent)
                    if position == 1 and silenced == "stage":
                        x = torch.zeros_like(x)
                    if layer.name in wanted:
                        features[layer.name] = x
            assert x is not None  # the first block always runs
            image = self.output.add(block, image, x, to_rgb)
        assert image is not None  # the last block always has colours
        return (torch.tanh(image) if self._final_tanh else image), features
