"""A generator from outside the package: the whole of what a plugin of your own needs.

Nobody here made this network. It is a DCGAN for 64 px drawings of faces, ported from another
framework, and its layout is odd: rows-columns-channels after the first layer, ReLU *before* batch
normalisation, and a last convolution whose output is cropped. None of the built-in families reads
it, so it gets a plugin. A job names it by module and attribute, and the module only has to be
importable, by you and by every worker:

    dataset:
      generator:
        kind: anime_dcgan:AnimeDCGAN
        weights: generators/anime_dcgan64.safetensors

Three things make a generator (`factory/generate/base.py` has the promise): `facts`, which are known
before any image is made; `draw_z`, which draws one latent from a random generator it is handed and
from nothing else; and `generate`, which turns a batch of latents into images and feature maps.
Nothing has to be inherited or registered.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.errors import JobError, WeightsError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.generate.batch import ImageBatch
from factory.generate.weights.find import TensorBag, read_weights
from factory.spec import GeneratorSpec

# What the tensors do not say. It is written down by the network's author, or it is found out by
# looking at images.
_NORM_EPS = 1e-3
_FIRST_SIDE = 4
_LAST_CROP = slice(1, 65)


class UpLayer:
    """A transposed convolution that doubles the resolution, a ReLU, then batch normalisation."""

    def __init__(self, bag: TensorBag, position: int, device: torch.device) -> None:
        """Take `up.POSITION` and `bn.POSITION`."""
        self.name = f"up.{position}"
        self.weight = bag.take(f"{self.name}.weight").to(device)
        self.channels = self.weight.shape[1]
        self.bias = bag.take(f"{self.name}.bias", self.channels).to(device)
        # Batch normalisation after training is one factor and one summand per channel.
        norm = f"bn.{position}"
        scale = bag.take(f"{norm}.weight") * (bag.take(f"{norm}.running_var") + _NORM_EPS).rsqrt()
        shift = bag.take(f"{norm}.bias") - bag.take(f"{norm}.running_mean") * scale
        self.scale, self.shift = (term[None, :, None, None].to(device) for term in (scale, shift))
        bag.take(f"{norm}.num_batches_tracked")  # only counts training steps

    def __call__(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """The layer's feature map."""
        x = functional.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)
        return functional.relu(x) * self.scale + self.shift


class AnimeDCGAN:
    """The generator. Feature maps `up.0` (8 px) to `up.3` (64 px) are the outputs of its layers."""

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`. Every plugin is called with these three.

        `weights` is the file that `spec.weights` names: already found on this machine, and its
        SHA-256 already checked if the job demands one.

        Raises:
            WeightsError: If there are none, or they are another network's.
            JobError: If the job asks for a precision or noise that this network does not have.
        """
        # Refuse what you cannot do, at once and by the setting's name: a setting that is silently
        # ignored ends in a dataset that is not what its job file says.
        if weights is None:
            raise WeightsError(
                "dataset.generator.weights: missing; give the path of anime_dcgan64.safetensors"
            )
        if spec.precision != "float32":
            raise JobError(
                f"dataset.generator.precision: found {spec.precision!r}; this generator has only "
                "'float32'"
            )
        if spec.noise == "per_sample":
            raise JobError(
                "dataset.generator.noise: found 'per_sample'; this generator has no noise inputs"
            )
        # `read_weights` runs nothing that is in the file. The bag hands out each tensor once, and
        # `finish` complains about what is left: a file of another shape cannot pass for this one.
        bag = read_weights(weights).tensors
        self._device = device
        self._first_weight = bag.take("fc.weight").to(device)
        self._first_bias = bag.take("fc.bias", len(self._first_weight)).to(device)
        self._layers = [UpLayer(bag, position, device) for position in range(4)]
        self._last_weight = bag.take("out.weight").to(device)
        self._last_bias = bag.take("out.bias", 3).to(device)
        bag.finish()
        # The facts name every feature map with its shape, from coarse to fine: segmenters choose
        # from them before the first image is made.
        self.facts = GeneratorFacts(
            resolution=_FIRST_SIDE << len(self._layers),
            num_classes=0,
            class_names=(),
            layers={
                layer.name: LayerShape(layer.channels, 8 << position, 8 << position)
                for position, layer in enumerate(self._layers)
            },
            license="MIT",
            spaces={"z": (self._first_weight.shape[1],)},
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """One standard normal latent.

        `rng` belongs to one sample: whatever is drawn from it depends on nothing but the job's seed
        and the sample's index, on any worker and in any order.
        """
        return rng.standard_normal(self._first_weight.shape[1], dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Images of `latents` (RGB bytes) with the feature maps named in `layers`.

        Raises:
            JobError: If there is no such feature map.
        """
        for name in layers:
            if name not in self.facts.layers:
                raise JobError(
                    f"no feature map {name!r}; this generator has {', '.join(self.facts.layers)}"
                )
        x, features = self._synthesise(self._z_of(latents), layers)
        # Images leave as bytes, rows-columns-colours, and stay on the device.
        images = (x * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
        return ImageBatch(images, features)

    def shifted(
        self,
        latents: LatentBatch,
        space: str,
        shift: Float[Tensor, "n z"],
    ) -> Float[Tensor, "n 3 h w"]:
        """Colours from -1 to 1 of `latents` moved by `shift`.

        Only methods that move latents call it. PyTorch finds out how the colours depend on the shift,
        as long as nothing on the way becomes bytes or NumPy.
        """
        colours, _ = self._synthesise(self._z_of(latents) + shift, ())
        return colours * 2 - 1

    def _z_of(self, latents: LatentBatch) -> Float[Tensor, "n z"]:
        # The mean latent is zero, so truncation is a factor.
        return torch.from_numpy(latents.z).to(self._device) * latents.truncation_psi

    def _synthesise(
        self, z: Float[Tensor, "n z"], layers: Sequence[str]
    ) -> tuple[Float[Tensor, "n 3 h w"], dict[str, Tensor]]:
        # Samples must not see each other: no statistic is taken over the batch anywhere below.
        x = functional.linear(z, self._first_weight, self._first_bias)
        x = x.reshape(len(z), _FIRST_SIDE, _FIRST_SIDE, -1).permute(0, 3, 1, 2)
        features = {}
        for layer in self._layers:
            x = layer(x)
            if layer.name in layers:
                features[layer.name] = x
        x = functional.conv_transpose2d(x, self._last_weight, self._last_bias)
        return torch.sigmoid(x[:, :, _LAST_CROP, _LAST_CROP]), features
