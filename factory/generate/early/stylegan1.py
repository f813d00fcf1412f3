"""StyleGAN (first version) generators in the layout of genforce."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import LayerShape, Silenced, StyleFacts
from factory.generate.contract import (
    facts_of,
    numerics,
    open_weights,
)
from factory.generate.early.stylegan1_network import Network, NoiseMaps
from factory.generate.numerics import colours_on_white
from factory.generate.spaces import style_spaces
from factory.generate.style_based import StyleBased
from factory.identity import counter_rng
from factory.spec import GeneratorSpec


class StyleGAN1(StyleBased[Network]):
    """The generator plugin `stylegan1`. Reads safetensors in genforce's tensor names.

    Feature maps are the outputs of all layers, `layer0` and so on, after the style. Unlike in the
    original, truncation without a cutoff means all style rows, as it does for our other generators.
    """

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a StyleGAN.
        """
        content = open_weights(spec, weights)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        self.latent_rows = self.network.num_ws
        self._noise_mode = spec.noise
        self._const_noise: NoiseMaps = {}
        if spec.noise == "const":
            self._const_noise = self.network.const_noise()
        shapes = {}
        for position, layer in enumerate(self.network.layers):
            if self.network.output.runs(position // 2):
                side = 4 << position // 2
                shapes[layer.name] = LayerShape(layer.channels, side, side)
        facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=self.network.img_channels,
            num_classes=self.network.mapping.num_classes,
            layers=shapes,
            styles=StyleFacts(tuple(shapes)[1:], (self.network.resolution,)),
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
        self,
        base: LatentBatch,
        variants: LatentBatch,
        start: str,
        stop_px: int,  # noqa: ARG002 - colours of lower resolutions are those of earlier training
    ) -> Float[Tensor, "v 3 s s"]:
        """Generate `base` with the styles of `variants` from `start` on; see `StyleMixer`.

        The synthesis cannot stop early: the colour layers of lower resolutions are those of an
        earlier stage of training and do not fit the final network.
        """
        colours = self.network.mix(
            self.styles(base), self.styles(variants), self._noise(base), start
        )
        return colours_on_white(colours)

    def render_background(
        self, latents: LatentBatch, silenced: Silenced
    ) -> Float[Tensor, "n c h w"]:
        """Render `latents` without an object; see `BackgroundRenderer`."""
        noise = self._noise(latents)
        return self.network.synthesise(self.styles(latents), noise, silenced=silenced)[0]

    def _noise(self, latents: LatentBatch) -> NoiseMaps:
        if self._noise_mode != "per_sample" or latents.noise_seed is None:
            return self._const_noise
        noise: NoiseMaps = {}
        # Drawn on the host from (seed, index, layer): the same maps on every device and in every
        # batch.
        for substream, layer in enumerate(self.network.layers):
            shape = layer.noise_const.shape[1:]
            maps = [
                counter_rng("noise", latents.noise_seed, int(index), substream).standard_normal(
                    shape, dtype=np.float32
                )
                for index in latents.indices
            ]
            noise[layer.name] = torch.from_numpy(np.stack(maps)).to(self.network.at.device)
        return noise
