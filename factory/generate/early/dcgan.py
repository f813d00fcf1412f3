"""DCGAN generators in the layout of the PyTorch examples, unconditional or class-conditional."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
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
from factory.generate.early.dcgan_network import Network, one_of
from factory.generate.numerics import finish_images, to_bytes
from factory.generate.spaces import ShiftedZ, z_space
from factory.spec import GeneratorSpec

_LATENTS = ("normal", "uniform")


class DCGAN(ShiftedZ):
    """The generator plugin `dcgan`. Reads safetensors in the tensor names of the PyTorch examples.

    `latents.truncation_psi` scales z, whose mean is zero. Besides the network's own kwargs it reads
    `latent`: `normal` (the default) or `uniform` from -1 to 1.
    """

    latent_rows = 1

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a DCGAN.
            JobError: If the job asks for noise per sample: this family has no noise inputs.
        """
        check_noise(spec)
        content = open_weights(spec, weights)
        self._latent = one_of(content.kwargs, "latent", _LATENTS)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        self.facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=self.network.img_channels,
            num_classes=self.network.num_classes,
            layers={
                layer.activation_name: LayerShape(layer.channels, side, side)
                for layer, side in zip(
                    self.network.layers[:-1], self.network.sides[:-1], strict=True
                )
            },
            spaces=z_space(self.network.z_dim),
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one latent from the distribution stated in the file's kwargs."""
        if self._latent == "uniform":
            return rng.uniform(-1, 1, self.network.z_dim).astype(np.float32)
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
        truncated = single_row(z) * latents.truncation_psi
        images, features = self.network.synthesise(truncated, classes, layers)
        return Rendering(images, features, to_bytes)
