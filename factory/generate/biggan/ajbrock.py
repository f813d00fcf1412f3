"""BigGAN and BigGAN-deep generators in the layout of ajbrock's BigGAN-PyTorch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import LayerShape
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.biggan.ajbrock_network import Block, Network
from factory.generate.biggan.blocks import to_bytes_floored
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
from factory.generate.numerics import finish_images
from factory.generate.spaces import ShiftedZ, z_space
from factory.spec import GeneratorSpec


class BigGAN(ShiftedZ):
    """The generator plugin `biggan_ajbrock`. Reads safetensors in the original's tensor names.

    `latents.truncation_psi` only scales z, as in the original (its batch statistics belong to one
    truncation); `truncation_cutoff` does not apply and is rejected. Feature maps
    are the outputs of all blocks (`blocks.2.0`) and of the attention after one (`blocks.2.1`).
    """

    latent_rows = 1

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a BigGAN.
            JobError: If the job asks for noise per sample: this family has no noise inputs.
        """
        check_noise(spec)
        content = open_weights(spec, weights)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        shapes, side = {}, self.network.bottom
        for name, layer in self.network.layers.items():
            side *= 2 if isinstance(layer, Block) and layer.up else 1
            shapes[name] = LayerShape(layer.channels, side, side)
        self.facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=self.network.img_channels,
            num_classes=self.network.num_classes,
            layers=shapes,
            spaces=z_space(self.network.z_dim),
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one standard normal latent."""
        return rng.standard_normal(self.network.z_dim, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` (RGB bytes) and the feature maps named in `layers`.

        Raises:
            JobError: If a layer or class is unknown, or a truncation cutoff is set.
        """
        z = rows_of(latents, self.network.at.device)
        return finish_images(self.render(z, latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""
        check_layers(layers, self.facts)
        check_cutoff(latents)
        classes = class_ids(latents, self.facts.num_classes, self.network.at.device)
        assert classes is not None  # this family always has classes
        truncated = single_row(z) * latents.truncation_psi
        images, features = self.network.synthesise(truncated, classes, layers)
        return Rendering(images, features, partial(to_bytes_floored, scale=127.5))
