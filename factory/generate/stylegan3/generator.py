"""StyleGAN3-t, StyleGAN3-r and StyleGAN-XL generators, unconditional or class-conditional."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import LayerShape, StyleFacts
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.contract import (
    check_layers,
    check_noise,
    class_ids,
    facts_of,
    numerics,
    open_weights,
    rows_of,
    style_rows,
)
from factory.generate.numerics import colours_on_white, finish_images, to_bytes
from factory.generate.spaces import check_space, shift_styles, style_spaces
from factory.generate.stylegan3.network import Network
from factory.spec import GeneratorSpec


class StyleGAN3:
    """The generator plugin `stylegan3`. Reads safetensors in NVIDIA's tensor names.

    Feature maps are the outputs of all layers but the last (the colours), under the layers' own
    names, after the filtered leaky ReLU. The margin of 10 pixels that StyleGAN3 computes around the
    image is cropped, so that every map covers exactly the image: `L2_52_512` is 52 wide inside the
    network and 32 wide here.
    """

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a StyleGAN3 or StyleGAN-XL.
            JobError: If the job asks for noise per sample: this family has no noise inputs.
        """
        check_noise(spec)
        content = open_weights(spec, weights)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        self.latent_rows = self.network.num_ws
        exposed = self.network.layers[:-1]
        geometries = [layer.geometry for layer in exposed]
        self._margins = {layer.name: layer.margin for layer in geometries}
        sides = {layer.name: layer.out_size - 2 * layer.margin for layer in geometries}
        self.facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=self.network.img_channels,
            num_classes=self.network.mapping.num_classes,
            layers={
                name: LayerShape(layer.channels, side, side)
                for layer, (name, side) in zip(exposed, sides.items(), strict=True)
            },
            styles=StyleFacts(tuple(sides), (self.network.resolution,)),
            spaces=style_spaces(
                self.network.mapping.z_dim, self.network.mapping.w_dim, self.network.num_ws
            ),
        )

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
        images, features = self.network.synthesise(self._styles_of(z, latents), layers)
        cropped = {}
        for name, maps in features.items():
            margin, height = self._margins[name], maps.shape[2]
            cropped[name] = maps[:, :, margin : height - margin, margin : height - margin]
        return Rendering(images, cropped, to_bytes)

    def shifted(
        self, latents: LatentBatch, space: str, shift: Float[Tensor, "n *_rows _d"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Generate the images of `latents` moved by `shift` in `space`; see `LatentShifter`."""
        check_space(space, self.facts.spaces)
        z = rows_of(latents, self.network.at.device)
        ws = shift_styles(partial(self._styles_of, latents=latents), z, space, shift)
        images, _ = self.network.synthesise(ws)
        return colours_on_white(images)

    def mix(
        self,
        base: LatentBatch,
        variants: LatentBatch,
        start: str,
        stop_px: int,  # noqa: ARG002
    ) -> Float[Tensor, "v 3 s s"]:
        """Generate `base` with the styles of `variants` from `start` on; see `StyleMixer`.

        Only the last layer makes colours: the synthesis cannot stop before it.
        """
        ws, all_variants = self._styles(base), self._styles(variants)
        x = self.network.input(ws[:, 0]).to(self.network.at.dtype)
        for row, layer in enumerate(self.network.layers, start=1):
            if layer.geometry.name == start:
                x, ws = x.repeat(len(all_variants), 1, 1, 1), all_variants
            x = layer(x, ws[:, row])
        colours: Tensor = x.float() * self.network.output_scale
        return colours_on_white(colours)

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
