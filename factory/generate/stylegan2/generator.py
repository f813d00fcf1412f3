"""StyleGAN2 and StyleGAN2-ADA generators, unconditional or class-conditional."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.generate.base import LayerShape, Silenced
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.contract import (
    check_layers,
    class_ids,
    facts_of,
    numerics,
    open_weights,
    rows_of,
    style_rows,
)
from factory.generate.numerics import colours_on_white, finish_images, to_bytes
from factory.generate.spaces import check_space, shift_styles, style_spaces
from factory.generate.stylegan2.mixing import mixed_colours, style_facts
from factory.generate.stylegan2.network import Network, Noise
from factory.identity import counter_rng
from factory.spec import GeneratorSpec


class StyleGAN2:
    """The generator plugin `stylegan2`. Reads safetensors in NVIDIA's tensor names."""

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a StyleGAN2.
        """
        content = open_weights(spec, weights)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        self._noise_mode = spec.noise
        self._const_noise = self.network.const_noise() if spec.noise == "const" else {}
        self.latent_rows = self.network.num_ws
        shapes = _layer_shapes(self.network)
        facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=self.network.img_channels,
            num_classes=self.network.mapping.c_dim,
            layers=shapes,
            styles=style_facts(self.network, shapes),
            spaces=style_spaces(
                self.network.mapping.z_dim, self.network.mapping.w_dim, self.network.num_ws
            ),
        )
        self.facts = replace(facts, has_backgrounds=True)

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one standard normal latent."""
        return rng.standard_normal(self.network.mapping.z_dim, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` (RGB bytes) and the feature maps named in `layers`."""
        z = rows_of(latents, self.network.at.device)
        return finish_images(self.render(z, latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""
        check_layers(layers, self.facts)
        ws = self._styles_of(z, latents)
        images, features = self.network.synthesise(ws, self._noise(latents), layers)
        return Rendering(images, features, to_bytes)

    def shifted(
        self, latents: LatentBatch, space: str, shift: Float[Tensor, "n *_rows _d"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Generate the images of `latents` moved by `shift` in `space`; see `LatentShifter`."""
        check_space(space, self.facts.spaces)
        z = rows_of(latents, self.network.at.device)
        ws = shift_styles(partial(self._styles_of, latents=latents), z, space, shift)
        images, _ = self.network.synthesise(ws, self._noise(latents))
        return colours_on_white(images)

    def mix(
        self, base: LatentBatch, variants: LatentBatch, start: str, stop_px: int
    ) -> Float[Tensor, "v 3 s s"]:
        """Generate `base` with the styles of `variants` from `start` on; see `StyleMixer`."""
        first = tuple(self.facts.layers).index(start)  # the layer's position is its style row
        colours = mixed_colours(
            self.network,
            self.styles(base),
            self.styles(variants),
            self._noise(base),
            first,
            stop_px,
        )
        return colours_on_white(colours)

    def render_background(
        self, latents: LatentBatch, silenced: Silenced
    ) -> Float[Tensor, "n c h w"]:
        """Render `latents` without an object; see `BackgroundRenderer`."""
        noise = self._noise(latents)
        return self.network.synthesise(self.styles(latents), noise, silenced=silenced)[0]

    def styles(self, latents: LatentBatch) -> Float[Tensor, "n rows w_dim"]:
        """Compute the truncated style rows (W+) of `latents`."""
        return self._styles_of(rows_of(latents, self.network.at.device), latents)

    def _styles_of(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch
    ) -> Float[Tensor, "n styles w_dim"]:
        ids = class_ids(latents, self.facts.num_classes, self.network.at.device)
        styles = partial(
            self.network.styles, psi=latents.truncation_psi, cutoff=latents.truncation_cutoff
        )
        labels = None if ids is None else functional.one_hot(ids, self.facts.num_classes).float()
        return style_rows(styles, z, labels)

    def _noise(self, latents: LatentBatch) -> Noise:
        if self._noise_mode != "per_sample" or latents.noise_seed is None:
            return self._const_noise
        noise = {}
        # Drawn on the host from (seed, index, layer): the same maps on every device and in every
        # batch.
        for substream, layer in enumerate(self.network.layers):
            if layer.noise_const is None:
                continue
            shape = layer.noise_const.shape[1:]
            maps = [
                counter_rng("noise", latents.noise_seed, int(index), substream).standard_normal(
                    shape, dtype=np.float32
                )
                for index in latents.indices
            ]
            drawn = torch.from_numpy(np.stack(maps)).to(self.network.at.device)
            noise[layer.name] = drawn * layer.noise_strength
        return noise


def _layer_shapes(network: Network) -> dict[str, LayerShape]:
    shapes = {}
    for position, block in enumerate(network.blocks):
        side = 4 << position
        if block.conv0 is not None:
            shapes[block.conv0.name] = LayerShape(block.conv0.channels, side, side)
        shapes[block.output_name] = LayerShape(block.conv1.channels, side, side)
    return shapes
