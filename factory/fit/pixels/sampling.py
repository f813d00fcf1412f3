"""Feature vectors sampled at random pixels of generated images; the images are discarded.

The fitting images are divided into a fixed number of parts, whole batches each. A feature map is read
at the sampled places only, with the bilinear weights that the head will use, and then dropped: memory
is that of the sampled pixels.
"""

import math
from collections.abc import Sequence
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
from factory.segment.segmenter_file import Corners
from factory.spec import DatasetSpec

NUM_PARTS = 16
"""Parts that the fitting images are divided into. Sums are added part by part, so that this number,
and no number of threads or workers, decides their last digits."""

FIRST_FITTING_INDEX = 2**62
"""Sample indices from here on are for fitting: a dataset's samples are never fitted on."""

MOST_CHANNELS = 1000
"""Channels of all layers that `auto` chooses."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which pixels are fitted on."""

    layers: tuple[str, ...]
    """Feature maps, from coarse to fine."""
    widths: tuple[int, ...]
    """Channels of each of them."""
    num_images: int
    """Images."""
    pixels_per_image: int
    """Random places in each."""
    seed: int
    """Seed of the images and the places."""
    corners: Corners = "aligned"
    """How maps are read between their pixels: as the head that is fitted enlarges them. By half pixels,
    places are the centres of the image's own pixels, for which masks are made."""

    @property
    def num_channels(self) -> int:
        """Length of a pixel's vector: the layers' channels side by side."""
        return sum(self.widths)

    @property
    def num_pixels(self) -> int:
        """Pixels of all images."""
        return self.num_images * self.pixels_per_image

    def batches(self, part: int, batch_size: int) -> range:
        """The batches of images that make up a part; none if there are fewer batches than parts."""
        count = math.ceil(self.num_images / batch_size)
        return range(part * count // NUM_PARTS, (part + 1) * count // NUM_PARTS)

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
    while len(chosen) > 1 and sum(facts.layers[n].channels for n in chosen) > MOST_CHANNELS:
        chosen.pop(0)
    return tuple(chosen)


def fitting_batch(
    generator: Generator, dataset: DatasetSpec, seed: int, batch_index: int
) -> LatentBatch:
    """Latents of a batch of fitting images."""
    start = batch_index * dataset.batch_size
    return fitting_latents(generator, dataset, seed, range(start, start + dataset.batch_size))


def fitting_latents(
    generator: Generator, dataset: DatasetSpec, seed: int, numbers: Sequence[int]
) -> LatentBatch:
    """Latents of fitting images by number: the dataset's distribution, another seed, other indices."""
    latents = dataset.latents.model_copy(update={"seed": seed, "draw": "counter"})
    sampler = LatentSampler(generator, latents, dataset.generator)
    return sampler.draw([FIRST_FITTING_INDEX + number for number in numbers])


def read_batch(
    generator: Generator, dataset: DatasetSpec, sampling: Sampling, batch_index: int
) -> list[Float[Tensor, "p c"]]:
    """Feature vectors of one batch of fitting images: float32, one matrix per image."""
    latents = fitting_batch(generator, dataset, sampling.seed, batch_index)
    count = min(dataset.batch_size, sampling.num_images - batch_index * dataset.batch_size)
    batch = generator.generate(latents, sampling.layers)
    maps = [batch.features[layer] for layer in sampling.layers]
    images = []
    for row in range(count):
        places = places_of(sampling, int(latents.indices[row])).to(batch.images.device)
        if sampling.corners == "half_pixel":
            places = pixel_centres(places, generator.facts.resolution)
        read = [read_places(m[row], places, sampling.corners) for m in maps]
        images.append(torch.cat(read, dim=1))
    return images


def read_places(
    maps: Float[Tensor, "c h w"], places: Float[Tensor, "p 2"], corners: Corners = "aligned"
) -> Float[Tensor, "p c"]:
    """One image's feature vectors at `places`, bilinear, float32."""
    # Outside of the outer pixels' centres a map goes on as it ends there, as where it is enlarged.
    how = (
        {"align_corners": True}
        if corners == "aligned"
        else {"align_corners": False, "padding_mode": "border"}
    )
    read = functional.grid_sample(maps[None].float(), places[None, :, None], mode="bilinear", **how)
    return read[0, :, :, 0].T


def places_of(sampling: Sampling, index: int) -> Float[Tensor, "p 2"]:
    """Random places in an image, as (x, y) from -1 to 1 between the corner pixels' centres."""
    rng = counter_rng("pixels", sampling.seed, index)
    return torch.from_numpy(rng.uniform(-1, 1, (sampling.pixels_per_image, 2)).astype(np.float32))


def pixel_centres(places: Float[Tensor, "p 2"], side: int) -> Float[Tensor, "p 2"]:
    """The centres of the pixels that hold `places`, both from -1 to 1 between the edges of an image."""
    pixels = ((places + 1) * (side / 2)).floor().clamp(0, side - 1)
    return (pixels + 0.5) * (2 / side) - 1
