"""StyleGAN3-t, StyleGAN3-r and StyleGAN-XL generators, unconditional or class-conditional."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import LayerShape, StyleFacts
from factory.generate.contract import (
    check_noise,
    facts_of,
    numerics,
    open_weights,
)
from factory.generate.numerics import colours_on_white
from factory.generate.spaces import style_spaces
from factory.generate.style_based import StyleBased
from factory.generate.stylegan3.network import Network
from factory.spec import GeneratorSpec


class StyleGAN3(StyleBased[Network]):
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

    def _synthesise(
        self,
        styles: Float[Tensor, "n rows w_dim"],
        latents: LatentBatch,  # noqa: ARG002 - this family has no noise
        layers: Sequence[str],
    ) -> tuple[Float[Tensor, "n c h w"], Mapping[str, Tensor]]:
        images, features = self.network.synthesise(styles, layers)
        cropped = {}
        for name, maps in features.items():
            margin, height = self._margins[name], maps.shape[2]
            cropped[name] = maps[:, :, margin : height - margin, margin : height - margin]
        return images, cropped

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
        ws, all_variants = self.styles(base), self.styles(variants)
        x = self.network.input(ws[:, 0]).to(self.network.at.dtype)
        for row, layer in enumerate(self.network.layers, start=1):
            if layer.geometry.name == start:
                x, ws = x.repeat(len(all_variants), 1, 1, 1), all_variants
            x = layer(x, ws[:, row])
        colours: Tensor = x.float() * self.network.output_scale
        return colours_on_white(colours)
