"""StyleGAN (first version) generators in the layout of genforce."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import LayerShape, Silenced, StyleFacts
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
from factory.generate.early.stylegan1_network import Network, NoiseMaps
from factory.generate.numerics import colours_on_white, finish_images, to_bytes
from factory.generate.spaces import check_space, shift_styles, style_spaces
from factory.identity import counter_rng
from factory.spec import GeneratorSpec


class StyleGAN1:
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

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one standard normal latent."""
        return rng.standard_normal(self.network.mapping.z_dim, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` (RGB bytes) and the feature maps named in `layers`.

        Raises:
            JobError: If a layer is unknown, or a sample has no class and the network has classes.
        """
        z = rows_of(latents, self.network.at.device)
        return finish_images(self.render(z, latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""
        check_layers(layers, self.facts)
        images, features = self.network.synthesise(
            self._styles_of(z, latents), self._noise(latents), layers
        )
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
            self._styles(base), self._styles(variants), self._noise(base), start
        )
        return colours_on_white(colours)

    def render_background(
        self, latents: LatentBatch, silenced: Silenced
    ) -> Float[Tensor, "n c h w"]:
        """Render `latents` without an object; see `BackgroundRenderer`."""
        noise = self._noise(latents)
        return self.network.synthesise(self._styles(latents), noise, silenced=silenced)[0]

    def _styles(self, latents: LatentBatch) -> Float[Tensor, "n rows w_dim"]:
        return self._styles_of(rows_of(latents, self.network.at.device), latents)

    def _styles_of(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch
    ) -> Float[Tensor, "n styles w_dim"]:
        styles = partial(
            self.network.styles, psi=latents.truncation_psi, cutoff=latents.truncation_cutoff
        )
        return style_rows(
            styles, z, class_ids(latents, self.facts.num_classes, self.network.at.device)
        )

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
