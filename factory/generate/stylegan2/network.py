"""The StyleGAN2 / StyleGAN2-ADA network, implemented from the published formulas.

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN" (mapping and
synthesis, section 2 and appendix B), and Karras et al. 2020, "Training GANs with limited data"
(conditional mapping). Where we differ: weights are shared by the batch and styles scale a layer's
input and output instead of its weights (equal in exact arithmetic), because a grouped convolution
with weights per sample is slower on every device. Tensor names are NVIDIA's. `train_generator`
runs the same network, differentiably; in-place operations below keep that possible.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.base import Silenced
from factory.generate.doubling import Doubling, blurred_convolution, filtered_maps
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.mapping import Linear, Mapping
from factory.generate.weights.find import TensorBag

Noise = dict[str, Float[Tensor, "_n 1 _h _w"]]
"""Noise maps by layer name, already scaled by the layer's strength; a layer that is absent gets none."""


class StyledConv:
    """A 3x3 convolution modulated by a style, with noise, bias and leaky ReLU."""

    def __init__(
        self,
        bag: TensorBag,
        name: str,
        *,
        up: bool,
        gain: float,
        clamp: float | None,
        at: Numerics,
    ) -> None:
        """Take the tensors below `synthesis.NAME`; `gain` multiplies the activation's sqrt 2."""
        prefix = f"synthesis.{name}"
        weight = bag.take(f"{prefix}.weight")
        taps = bag.take(f"{prefix}.resample_filter")
        out_channels, self.in_channels = weight.shape[:2]
        self.name, self.up, self.channels = name, up, out_channels
        self.affine = Linear(bag, f"{prefix}.affine", 1.0, at.device)
        self._prescale = at.dtype == torch.float16
        if self._prescale:
            # Half precision ends at 65504, which the sums of a convolution can exceed. Scaling
            # weights and styles bounds them; demodulation divides by the same factors, so the
            # result is equal.
            largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
            weight = weight / (largest * math.sqrt(weight[0].numel()))
        self._weight_energy = weight.square().sum(dim=(2, 3)).to(at.device)
        self._convolve: Callable[[Tensor], Tensor]
        if up:
            self._convolve = blurred_convolution(weight, taps, at)
        else:
            stored = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
            self._convolve = partial(functional.conv2d, weight=stored, padding=1)
        # The gain comes after the leaky ReLU in the paper. A leaky ReLU is positively homogeneous,
        # so it is folded into demodulation, bias and noise: one pass over the maps less.
        self._gain = math.sqrt(2) * gain
        self._clamp = clamp * gain if clamp is not None else None
        bias = bag.take(f"{prefix}.bias", out_channels) * self._gain
        self._bias = bias[None, :, None, None].to(at.device, at.dtype)
        self._at = at
        has_noise = f"{prefix}.noise_const" in bag
        self.noise_strength = (
            bag.take(f"{prefix}.noise_strength") if has_noise else torch.zeros(())
        ).to(at.device)
        self.noise_const = (
            bag.take(f"{prefix}.noise_const")[None, None].to(at.device) if has_noise else None
        )

    def __call__(
        self,
        x: Float[Tensor, "n i h w"],
        w: Float[Tensor, "n w_dim"],
        noise: Float[Tensor, "m 1 h2 w2"] | None,
    ) -> Float[Tensor, "n o h2 w2"]:
        """The layer's activations; `noise` is already scaled by its strength."""
        style = self.affine(w)
        if self._prescale:
            style = style / style.abs().amax(dim=1, keepdim=True)
        demodulation = (style.square() @ self._weight_energy.T + 1e-8).rsqrt() * self._gain
        x = self._convolve(x * style[:, :, None, None].to(self._at.dtype))
        scale = demodulation[:, :, None, None].to(self._at.dtype)
        x = torch.addcmul(self._bias, x, scale)
        if noise is not None:
            x.add_((noise * self._gain).to(self._at.dtype))
        functional.leaky_relu_(x, 0.2)
        if self._clamp is None:
            return x
        # Autograd derives the slope of an in-place leaky ReLU from its result, so that training
        # must not overwrite it.
        clamp = torch.clamp if x.requires_grad else torch.clamp_
        return clamp(x, -self._clamp, self._clamp)


class ToRGB:
    """A modulated 1x1 convolution to colours, without demodulation and activation."""

    def __init__(self, bag: TensorBag, name: str, clamp: float | None, at: Numerics) -> None:
        """Take the tensors below `synthesis.NAME`."""
        prefix = f"synthesis.{name}"
        weight = bag.take(f"{prefix}.weight")
        self._affine = Linear(bag, f"{prefix}.affine", 1.0, at.device)
        self._weight = (weight[:, :, 0, 0] / math.sqrt(weight.shape[1])).T.to(at.device)
        self._bias = bag.take(f"{prefix}.bias", weight.shape[0])[:, None, None].to(at.device)
        self._clamp = clamp
        self.img_channels = weight.shape[0]

    def __call__(
        self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n w_dim"]
    ) -> Float[Tensor, "n c h w"]:
        """Colours in float32."""
        # A matrix product per sample: the modulated weight is tiny, and scaling `x` instead would
        # copy the largest maps of the network. Colours add up over resolutions, so they leave in
        # float32.
        count, _, height, width = x.shape
        weight = (self._affine(w)[:, :, None] * self._weight).to(x.dtype)
        pixels = x.permute(0, 2, 3, 1).reshape(count, height * width, -1) @ weight
        colours = pixels.float().transpose(1, 2).reshape(count, -1, height, width) + self._bias
        return colours if self._clamp is None else colours.clamp_(-self._clamp, self._clamp)


class Block:
    """All layers of one resolution."""

    def __init__(self, bag: TensorBag, resolution: int, clamp: float | None, at: Numerics) -> None:
        """Take the tensors below `synthesis.bR`; their names determine the architecture."""
        self.name = f"b{resolution}"
        prefix = f"synthesis.{self.name}"
        self.is_resnet = f"{prefix}.skip.weight" in bag
        taps = bag.take(f"{prefix}.resample_filter")
        gain = math.sqrt(0.5) if self.is_resnet else 1.0
        self.conv0 = None
        if resolution > 4:
            self.conv0 = StyledConv(
                bag, f"{self.name}.conv0", up=True, gain=1.0, clamp=clamp, at=at
            )
        self.conv1 = StyledConv(bag, f"{self.name}.conv1", up=False, gain=gain, clamp=clamp, at=at)
        has_rgb = f"{prefix}.torgb.weight" in bag
        self.to_rgb = ToRGB(bag, f"{self.name}.torgb", clamp, at) if has_rgb else None
        self.upsample_image: Doubling | None = None
        if self.to_rgb is not None:
            # Colours add up over resolutions, in float32.
            colours_at = replace(at, dtype=torch.float32)
            self.upsample_image = filtered_maps(self.to_rgb.img_channels, taps, colours_at)
        self._skip: Doubling | None = None
        if self.is_resnet:
            skip = bag.take(f"{prefix}.skip.weight")
            skip_taps = bag.take(f"{prefix}.skip.resample_filter")
            scaled = skip * math.sqrt(0.5 / skip.shape[1])
            self._skip = filtered_maps(skip.shape[0], skip_taps, at, scaled)

    @property
    def output_name(self) -> str:
        """Name of the block's output feature map."""
        return self.name if self.is_resnet else f"{self.name}.conv1"

    def shortcut(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"] | None:
        """The upsampled shortcut of the resnet architecture; None in others."""
        return None if self._skip is None else self._skip(x)


class Network:
    """Mapping and synthesis networks, built from the tensors and kwargs of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: dict[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`.

        `lr_multiplier` and `conv_clamp` cannot be inferred from the tensors: they come from `kwargs`
        (nested as in the ADA repository), else 0.01 and none.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        mapping = kwargs.get("mapping_kwargs", {})
        clamp = kwargs.get("synthesis_kwargs", {}).get("conv_clamp")
        self.at = at
        self.mapping = Mapping(
            bag,
            mapping.get("lr_multiplier", 0.01),
            joint_norm=bool(mapping.get("joint_norm", False)),
            device=at.device,
        )
        const = bag.take("synthesis.b4.const")
        self.const = const[None].to(at.device, at.dtype)
        self.blocks: list[Block] = []
        while f"synthesis.b{4 << len(self.blocks)}.conv1.weight" in bag:
            self.blocks.append(Block(bag, 4 << len(self.blocks), clamp, at))
        bag.finish()
        self.resolution = 2 << len(self.blocks)
        last = self.blocks[-1].to_rgb if self.blocks else None
        self.img_channels = last.img_channels if last else 0
        self.num_ws = 2 * len(self.blocks)

    @property
    def layers(self) -> list[StyledConv]:
        """Every styled convolution, from coarse to fine."""
        return [conv for block in self.blocks for conv in (block.conv0, block.conv1) if conv]

    def styles(
        self,
        z: Float[Tensor, "n z"],
        labels: Float[Tensor, "n k"] | None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
    ) -> Float[Tensor, "n rows w_dim"]:
        """Style rows (W+); the first `cutoff` of them are truncated towards the mean w by `psi`."""
        ws = self.mapping(z, labels)[:, None].repeat(1, self.num_ws, 1)
        if psi != 1:
            ws[:, :cutoff] = self.mapping.w_avg.lerp(ws[:, :cutoff], psi)
        return ws

    def const_noise(self) -> Noise:
        """The checkpoint's own noise maps, scaled."""
        return {
            layer.name: layer.noise_const * layer.noise_strength
            for layer in self.layers
            if layer.noise_const is not None
        }

    def synthesise(
        self,
        ws: Float[Tensor, "n rows w_dim"],
        noise: Noise,
        wanted: Collection[str] = (),
        *,
        silenced: Silenced | None = None,
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, nominally -1 to 1, not clamped) and the `wanted` feature maps.

        Feature maps are taken after noise, bias, leaky ReLU and gain, in the synthesis precision. With
        `silenced`, the first stage is 0: its constant, or all that its convolution makes.
        """
        # channels_last with a transposed convolution and a separate blur: 1.2 to 1.5 times as fast
        # as the reference on a CPU core. There the dense form is slower (0.7 to 0.96 times the
        # reference), and torch.compile gains 5 to 11 % but compiles anew for every batch size.
        x = self.const.repeat(len(ws), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        if silenced == "constant":
            x = torch.zeros_like(x)
        image: Tensor | None = None
        features: dict[str, Tensor] = {}
        for position, block in enumerate(self.blocks):
            shortcut = block.shortcut(x)
            if block.conv0 is not None:
                x = block.conv0(x, ws[:, 2 * position - 1], noise.get(block.conv0.name))
                if block.conv0.name in wanted:
                    features[block.conv0.name] = x
            x = block.conv1(x, ws[:, 2 * position], noise.get(block.conv1.name))
            if shortcut is not None:
                x = x + shortcut if x.requires_grad else x.add_(shortcut)
            if position == 0 and silenced == "stage":
                x = torch.zeros_like(x)
            if block.output_name in wanted:
                features[block.output_name] = x
            if block.to_rgb is not None and block.upsample_image is not None:
                colours = block.to_rgb(x, ws[:, 2 * position + 1])
                image = colours if image is None else block.upsample_image(image).add_(colours)
        assert image is not None  # the last block always has colours
        return image, features
