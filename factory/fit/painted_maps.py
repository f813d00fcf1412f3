"""Feature maps of painted pictures, made again for each epoch with new noise."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from factory.fit.annotations.folder import PaintedPicture
from factory.fit.context import FitContext
from factory.fit.lse import Picture
from factory.fit.pixels.sampling import fitting_latents
from factory.generate.base import Generator
from factory.identity import counter_rng
from factory.spec import DatasetSpec
from factory.spec.linear import LinearSpec


class PaintedMaps:
    """The painted pictures of a fit with their feature maps."""

    def __init__(
        self,
        spec: LinearSpec,
        context: FitContext,
        painted: Sequence[PaintedPicture],
        *,
        seed: int,
        layers: tuple[str, ...],
        classes: Int64[np.ndarray, " 256"],
    ) -> None:
        """Prepare pictures that were drawn with `seed`; `classes` maps mask values to trained ones."""
        self._spec, self._layers, self._seed = spec, layers, seed
        self._generator, self._dataset = context.generator, context.dataset
        device = context.pool.device
        self._numbers = [one.picture.number for one in painted]
        self._ids = [torch.from_numpy(classes[one.mask])[None].to(device) for one in painted]
        self._kept: tuple[int, list[Picture]] | None = None

    def of_epoch(self, epoch: int) -> list[Picture]:
        """The pictures of an epoch; the first has the noise with which they were painted."""
        draw = epoch if redraws_noise(self._spec, self._dataset) else 0
        if self._kept is None or self._kept[0] != draw:
            self._kept = None  # two sets of feature maps would not fit
            self._kept = (draw, self._make(draw))
        return self._kept[1]

    def _make(self, draw: int) -> list[Picture]:
        pictures: list[Picture] = []
        size = self._dataset.batch_size
        for start in range(0, len(self._numbers), size):
            maps = generate_maps(
                self._generator,
                self._dataset,
                self._seed,
                self._numbers[start : start + size],
                self._layers,
                noise_seed=_noise_seed(self._spec.seed, draw) if draw else None,
            )
            pictures += [Picture(one, self._ids[start + place]) for place, one in enumerate(maps)]
        return pictures


def redraws_noise(spec: LinearSpec, dataset: DatasetSpec) -> bool:
    """Whether each epoch has noise of its own: only a generator with noise per sample draws any."""
    return spec.redraw_noise and dataset.generator.noise == "per_sample"


def generate_maps(
    generator: Generator,
    dataset: DatasetSpec,
    seed: int,
    numbers: Sequence[int],
    layers: tuple[str, ...],
    *,
    noise_seed: int | None = None,
) -> list[tuple[Tensor, ...]]:
    """Feature maps of fitting images, one tuple for each, for training on them.

    Args:
        generator: Makes them.
        dataset: Its dataset.
        seed: Seed of the images.
        numbers: Which images.
        layers: Which feature maps.
        noise_seed: Other noise than the images' own; None = their own.

    Returns:
        For each image its maps, each with an axis for the one sample.
    """
    latents = fitting_latents(generator, dataset, seed, numbers)
    if noise_seed is not None:
        latents = replace(latents, noise_seed=noise_seed)
    with torch.inference_mode():
        features = generator.generate(latents, layers).features
    # Clones made outside of inference mode: tensors made inside it cannot be used in autograd.
    with torch.inference_mode(mode=False):
        whole = [features[layer].detach().clone() for layer in layers]
        return [tuple(maps[place : place + 1] for maps in whole) for place in range(len(numbers))]


def _noise_seed(seed: int, draw: int) -> int:
    return int(counter_rng("redrawn_noise", seed, draw).integers(2**62))
