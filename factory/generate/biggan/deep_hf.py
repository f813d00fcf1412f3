"""BigGAN-deep generators in the layout of Hugging Face's pytorch-pretrained-BigGAN."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import JobError
from factory.generate.base import LayerShape
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.biggan.blocks import to_bytes_floored
from factory.generate.biggan.deep_hf_network import Block, Network
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


class BigGANDeepHF(ShiftedZ):
    """The generator plugin `biggan_deep_hf`. Reads safetensors in Hugging Face's tensor names.

    `latents.truncation_psi` is BigGAN's truncation: z is psi times a normal cut off at -2 and 2,
    and psi selects the batch statistics. `truncation_cutoff` does not apply and is rejected.
    Feature maps are the outputs of all blocks and of the attention, `layers.0` and so on.
    """

    latent_rows = 1

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`.

        Raises:
            WeightsError: If there are none, or they are not those of a BigGAN-deep.
            JobError: If the job asks for noise per sample: this family has no noise inputs.
        """
        check_noise(spec)
        content = open_weights(spec, weights)
        self.network = Network(content.tensors, content.kwargs, numerics(spec, device))
        shapes, side = {}, 4
        for name, layer in self.network.layers.items():
            side *= 2 if isinstance(layer, Block) and layer.up else 1
            shapes[name] = LayerShape(layer.channels, side, side)
        self.facts = facts_of(
            content,
            resolution=self.network.resolution,
            channels=3,  # the others of its last layer are never used
            num_classes=self.network.num_classes,
            layers=shapes,
            spaces=z_space(self.network.z_dim),
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one latent from a normal truncated at -2 and 2, by rejection.

        The distribution is the original's, the numbers are not: the original used SciPy's sampler.
        """
        z = rng.standard_normal(self.network.z_dim, dtype=np.float32)
        while (outside := np.abs(z) > 2).any():
            z[outside] = rng.standard_normal(int(outside.sum()), dtype=np.float32)
        return z

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` (RGB bytes) and the feature maps named in `layers`.

        Raises:
            JobError: If a layer or class is unknown, or the truncation is outside this family's range.
        """
        z = rows_of(latents, self.network.at.device)
        return finish_images(self.render(z, latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""
        check_layers(layers, self.facts)
        truncation = latents.truncation_psi
        if not 0 < truncation <= 1:
            raise JobError(
                f"dataset.latents.truncation_psi: found {truncation}; BigGAN-deep has statistics "
                "for truncations above 0 and up to 1"
            )
        check_cutoff(latents)
        classes = class_ids(latents, self.facts.num_classes, self.network.at.device)
        assert classes is not None  # this family always has classes
        images, features = self.network.synthesise(
            single_row(z) * truncation, classes, truncation=truncation, wanted=layers
        )
        return Rendering(images, features, partial(to_bytes_floored, scale=128.0))
