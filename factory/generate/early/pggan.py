"""Progressively grown GANs (PGGAN) in the layout of genforce.

Source: Karras et al. 2018, "Progressive growing of GANs for improved quality, stability, and
variation", section 4 and appendix A. Tensor names are genforce's.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.errors import JobError
from factory.generate.base import LayerShape
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.contract import (
    check_cutoff,
    check_layers,
    check_noise,
    class_ids,
    facts_of,
    numerics,
    open_weights,
    rows_of,
    single_row,
)
from factory.generate.doubling import repeated_convolution
from factory.generate.early.growing import GrowingOutput
from factory.generate.early.stylegan1_network import Gains
from factory.generate.numerics import (
    Numerics,
    finish_images,
    second_moment_normalised,
    to_bytes,
)
from factory.generate.spaces import ShiftedZ, z_space
from factory.generate.weights.find import TensorBag
from factory.spec import GeneratorSpec


class Layer:
    """Pixel normalisation, upsampling if it is the first of its resolution, and a convolution."""

    def __init__(
        self,
        bag: TensorBag,
        name: str,
        *,
        gains: Gains,
        base_gain: float,
        up: bool = False,
        fused: bool = False,
        at: Numerics,
    ) -> None:
        """Take `NAME.weight` and `NAME.bias`; a `fused` layer upsamples inside its convolution."""
        weight = bag.take(f"{name}.weight")
        if up and fused:
            # Fused layers are stored as [in, out, k, k], all others as [out, in, k, k].
            self.channels, fan_in = weight.shape[1], weight[:, 0].numel()
        else:
            self.channels, fan_in = weight.shape[0], weight[0].numel()
        self.name = name
        self.in_channels, kernel = fan_in // weight[0, 0].numel(), weight.shape[2]
        weight = weight * gains.gain(fan_in, base_gain)
        self._convolve: Callable[[Tensor], Tensor]
        if up:
            outward = weight.transpose(0, 1) if fused else weight
            self._convolve = repeated_convolution(outward, at, fused=fused)
        else:
            stored = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
            padding = {1: 0, 3: 1, 4: 3}[kernel]
            self._convolve = partial(functional.conv2d, weight=stored, padding=padding)
        self._bias = bag.take(f"{name}.bias", self.channels)[:, None, None].to(at.device)

    def __call__(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """The layer's output in float32, before any activation."""
        scale = (x.float().square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        x = self._convolve(x * scale.to(x.dtype))
        return x.float().add_(self._bias)


class Network:
    """The generator network, built from the tensors and kwargs of a checkpoint."""

    def __init__(self, bag: TensorBag, kwargs: Mapping[str, Any], at: Numerics) -> None:
        """Take every tensor of `bag`.

        Args:
            bag: Tensors under genforce's names.
            kwargs: What shapes do not tell: `label_size` (else 0), `fused_scale` (else false),
                `use_wscale` (else true), `final_tanh` (else false).
            at: Device and precision.

        Raises:
            WeightsError: If tensors are missing, unexpected, or of another shape.
        """
        self.at = at
        gains = Gains(bool(kwargs.get("use_wscale", True)))
        fused = bool(kwargs.get("fused_scale", False))
        lrelu_gain = math.sqrt(2)
        self.layers: list[Layer] = []
        self._to_rgbs: list[Layer] = []
        while f"output{len(self._to_rgbs)}.weight" in bag:
            block = len(self._to_rgbs)
            self.layers += [
                Layer(
                    bag,
                    f"layer{position}",
                    gains=gains,
                    base_gain=lrelu_gain,
                    up=position % 2 == 0 and block > 0,
                    fused=fused,
                    at=at,
                )
                for position in (2 * block, 2 * block + 1)
            ]
            self._to_rgbs.append(Layer(bag, f"output{block}", gains=gains, base_gain=1.0, at=at))
        lod = float(bag.take("lod")) if "lod" in bag else 0.0
        self.output = GrowingOutput(lod, len(self._to_rgbs))
        bag.finish()
        self.num_classes = int(kwargs.get("label_size", 0))
        self.z_dim = self.layers[0].in_channels - self.num_classes
        self.resolution = 2 << len(self._to_rgbs)
        self.img_channels = self._to_rgbs[-1].channels
        self._final_tanh = bool(kwargs.get("final_tanh", False))

    def synthesise(
        self,
        z: Float[Tensor, "n z"],
        classes: Tensor | None = None,
        wanted: Collection[str] = (),
    ) -> tuple[Float[Tensor, "n c h w"], dict[str, Float[Tensor, "n _c _h _w"]]]:
        """Synthesise images (float32, nominally -1 to 1, not clamped) and the `wanted` feature maps.

        Feature maps are taken after the leaky ReLU.
        """
        z = second_moment_normalised(z)
        if classes is not None:
            z = torch.cat([z, functional.one_hot(classes, self.num_classes).float()], dim=1)
        x = z[:, :, None, None].to(self.at.dtype)
        image: Tensor | None = None
        features = {}
        for block, to_rgb in enumerate(self._to_rgbs):
            if self.output.runs(block):
                for layer in self.layers[2 * block : 2 * block + 2]:
                    x = functional.leaky_relu_(layer(x), 0.2).to(self.at.dtype)
                    if layer.name in wanted:
                        features[layer.name] = x
            image = self.output.add(block, image, x, to_rgb)
        assert image is not None  # the last block always has colours
        return (torch.tanh(image) if self._final_tanh else image), features


class PGGAN(ShiftedZ):
    """The generator plugin `pggan`. Reads safetensors in genforce's tensor names.

    Latents are normalised, so there is no truncation: one other than 1 is refused. Feature maps are
    the outputs of all layers, `layer0` and so on, after the leaky ReLU.
    """

    latent_rows = 1

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a PGGAN.
            JobError: If the job asks for noise per sample: this family has no noise inputs.
        """
        check_noise(spec)
        content = open_weights(spec, weights)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        shapes = {}
        for position, layer in enumerate(self.network.layers):
            if self.network.output.runs(position // 2):
                side = 4 << position // 2
                shapes[layer.name] = LayerShape(layer.channels, side, side)
        self.facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=self.network.img_channels,
            num_classes=self.network.num_classes,
            layers=shapes,
            spaces=z_space(self.network.z_dim),
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """One standard normal latent."""
        return rng.standard_normal(self.network.z_dim, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Images of `latents` (RGB bytes) with the feature maps named in `layers`.

        Raises:
            JobError: If a layer or class is unknown, or the job asks for truncation.
        """
        z = rows_of(latents, self.network.at.device)
        return finish_images(self.render(z, latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""
        check_layers(layers, self.facts)
        check_cutoff(latents)
        if latents.truncation_psi != 1:
            raise JobError(
                f"dataset.latents.truncation_psi: found {latents.truncation_psi}; PGGAN normalises "
                "its latents, so they cannot be truncated; use 1"
            )
        device = self.network.at.device
        images, features = self.network.synthesise(
            single_row(z), class_ids(latents, self.facts.num_classes, device), layers
        )
        return Rendering(images, features, to_bytes)
