"""StyleGAN2 and StyleGAN2-ADA generators, unconditional or class-conditional."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.generate.base import LayerShape, Silenced
from factory.generate.contract import (
    facts_of,
    numerics,
    open_weights,
)
from factory.generate.numerics import colours_on_white
from factory.generate.spaces import style_spaces
from factory.generate.style_based import StyleBased
from factory.generate.stylegan2.mixing import mixed_colours, style_facts
from factory.generate.stylegan2.network import Network, Noise
from factory.identity import counter_rng
from factory.spec import GeneratorSpec


class StyleGAN2(StyleBased[Network]):
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

    def _synthesise(
        self, styles: Float[Tensor, "n rows w_dim"], latents: LatentBatch, layers: Sequence[str]
    ) -> tuple[Float[Tensor, "n c h w"], Mapping[str, Tensor]]:
        return self.network.synthesise(styles, self._noise(latents), layers)

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

    def _classes(self, latents: LatentBatch) -> Tensor | None:
        ids = super()._classes(latents)
        return None if ids is None else functional.one_hot(ids, self.facts.num_classes).float()

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
