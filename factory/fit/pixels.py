"""Pixels streamed from a generator: feature vectors at random places of images nobody keeps.

Memory is that of the sampled pixels: a feature map is read at the sampled places only, with the
bilinear weights (corners aligned) that the head will use, and then dropped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.errors import JobError
from factory.generate.base import Generator, GeneratorFacts
from factory.generate.latents import LatentSampler
from factory.identity import counter_rng
from factory.spec import DatasetSpec, FitSpec

FIRST_FITTING_INDEX = 2**62
"""Sample indices from here on are for fitting: a dataset's samples are never fitted on."""

_MOST_CHANNELS = 1000


@dataclass(frozen=True, slots=True)
class PixelSample:
    """Feature vectors of pixels, the layers' channels side by side."""

    vectors: Float[Tensor, "p c"]
    """float32, one row per pixel, in the order of the images."""
    layers: tuple[str, ...]
    """Feature maps they come from."""
    widths: tuple[int, ...]
    """Channels of each of them."""

    def split(self, weights: Float[Tensor, "k c"]) -> dict[str, Float[Tensor, "k _c"]]:
        """Per-class vectors over all channels, cut into one block per layer."""
        return dict(zip(self.layers, torch.split(weights, list(self.widths), dim=1), strict=True))


def choose_layers(wanted: str | list[str], facts: GeneratorFacts) -> tuple[str, ...]:
    """The feature maps a job asks for, from coarse to fine.

    `auto` keeps the last map of each resolution and drops the coarsest until at most 1000 channels
    are left (KLiSH's selection).

    Raises:
        JobError: If a name is not offered by the generator.
    """
    if isinstance(wanted, list):
        unknown = [name for name in wanted if name not in facts.layers]
        if unknown or not wanted:
            found = repr(unknown[0]) if unknown else "an empty list"
            raise JobError(
                f"dataset.segmenter.layers: found {found}; allowed: auto, or some of "
                f"{', '.join(facts.layers)}"
            )
        return tuple(name for name in facts.layers if name in wanted)
    last = {shape.height: name for name, shape in facts.layers.items()}
    chosen = [last[height] for height in sorted(last)]
    while len(chosen) > 1 and sum(facts.layers[n].channels for n in chosen) > _MOST_CHANNELS:
        chosen.pop(0)
    return tuple(chosen)


def sample_pixels(
    generator: Generator,
    dataset: DatasetSpec,
    fit: FitSpec,
    layers: tuple[str, ...],
    on_progress: Callable[[int, int], None],
) -> PixelSample:
    """Draw `fit.num_images` images and read `fit.pixels_per_image` random pixels of each.

    `on_progress` is called with (images done, images in all).
    """
    total = fit.num_images
    vectors = []
    done = 0
    for latents in fitting_batches(generator, dataset, fit):
        batch = generator.generate(latents, layers)
        count = min(len(latents.indices), total - done)
        places = _places(latents, fit)[:count].to(batch.images.device)
        maps = [batch.features[layer][:count] for layer in layers]
        vectors.append(torch.cat([_read(m, places) for m in maps], dim=2).flatten(0, 1).cpu())
        done += count
        on_progress(done, total)
    widths = tuple(generator.facts.layers[layer].channels for layer in layers)
    return PixelSample(torch.cat(vectors), layers, widths)


def fitting_batches(
    generator: Generator, dataset: DatasetSpec, fit: FitSpec
) -> Iterator[LatentBatch]:
    """Latents of the fitting images: the dataset's distribution, another seed, other indices."""
    latents = dataset.latents.model_copy(update={"seed": fit.seed, "draw": "counter"})
    sampler = LatentSampler(generator, latents, dataset.generator)
    for first in range(0, fit.num_images, dataset.batch_size):
        start = FIRST_FITTING_INDEX + first
        yield sampler.draw(range(start, start + dataset.batch_size))


def _places(latents: LatentBatch, fit: FitSpec) -> Float[Tensor, "n p 2"]:
    """Random places in each image, as (x, y) from -1 to 1 between the corner pixels' centres."""
    rows = [
        counter_rng("pixels", fit.seed, int(index)).uniform(-1, 1, (fit.pixels_per_image, 2))
        for index in latents.indices
    ]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def _read(maps: Float[Tensor, "n c h w"], places: Float[Tensor, "n p 2"]) -> Float[Tensor, "n p c"]:
    """Feature vectors at `places`, bilinear with corners aligned, float32."""
    read = functional.grid_sample(
        maps.float(), places[:, :, None], mode="bilinear", align_corners=True
    )
    return read[..., 0].transpose(1, 2)
