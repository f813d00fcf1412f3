"""Choose pictures to paint: those that cover what a generator makes, random ones, or some of each class.

Which pictures are painted decides most of what a few of them teach. Coverage is k-centre (Gonzalez 1985,
"Clustering to minimize the maximum intercluster distance") on feature maps averaged over each image: the
next picture is the one least like all that were chosen.
"""

import math
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.pixels.sampling import fitting_latents
from factory.fit.progress import Progress
from factory.generate.base import Generator
from factory.identity import counter_rng
from factory.spec import DatasetSpec

Pick = Literal["diverse", "random", "by-class"]
"""Ways to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which pictures are wanted."""

    pick: Pick
    """How they are chosen."""
    count: int
    """Number of pictures."""
    pool_size: int
    """Number of fitting images that they are chosen from."""
    seed: int
    """Seed of these images."""


@dataclass(frozen=True, slots=True)
class _Pool:
    vectors: Float[Tensor, "p c"]
    """Each image's feature maps, averaged over its places and standardised over the images."""
    classes: Int64[np.ndarray, " p"]
    """The generator's class of each image; -1 without."""


def pick_numbers(
    generator: Generator, dataset: DatasetSpec, choice: Choice, progress: Progress
) -> list[int]:
    """Numbers of the chosen ones among the first fitting images; the best come first.

    Raises:
        JobError: If the pool is too small, or the generator lacks what the way of choosing needs.
        Interrupted: If a stop was requested.
    """
    pick, count, pool_size, seed = choice.pick, choice.count, choice.pool_size, choice.seed
    if count > pool_size:
        raise JobError(
            f"--n: found {count}, of a pool of {pool_size} images; ask for fewer, or raise --pool"
        )
    if pick == "random":
        order = counter_rng("seeding", seed, pool_size).permutation(pool_size)
        return [int(number) for number in order[:count]]
    if not generator.facts.layers:
        raise JobError(
            f"--pick: found {pick!r}, but this generator has no feature maps to compare its images by; "
            "allowed: random"
        )
    if pick == "by-class" and not generator.facts.num_classes:
        raise JobError(
            "--pick: found 'by-class', but this generator has no classes; allowed: diverse, random"
        )
    pool = _generate_pool(generator, dataset, pool_size, seed, progress)
    if pick == "diverse":
        return spread_out(pool.vectors, count)
    groups = [np.flatnonzero(pool.classes == label) for label in np.unique(pool.classes)]
    orders = [
        group[spread_out(pool.vectors[group], min(count, len(group)))].tolist() for group in groups
    ]
    turns = chain.from_iterable(zip_longest(*orders))
    return [number for number in turns if number is not None][:count]


def spread_out(vectors: Float[Tensor, "p c"], count: int) -> list[int]:
    """Rows that cover all others: first the one nearest to the mean, then always the farthest."""
    distance = (vectors - vectors.mean(dim=0)).square().sum(dim=1)
    chosen = [int(distance.argmin())]
    distance = (vectors - vectors[chosen[0]]).square().sum(dim=1)
    while len(chosen) < count:
        distance[chosen] = -1.0  # equal images must not be chosen twice
        chosen.append(int(distance.argmax()))
        latest = (vectors - vectors[chosen[-1]]).square().sum(dim=1)
        distance = torch.minimum(distance, latest)
    return chosen


def _generate_pool(
    generator: Generator, dataset: DatasetSpec, pool_size: int, seed: int, progress: Progress
) -> _Pool:
    size, layers = dataset.batch_size, tuple(generator.facts.layers)
    vectors, classes = [], []
    progress.begin("comparing images", pool_size)
    for batch in range(math.ceil(pool_size / size)):
        numbers = range(batch * size, min((batch + 1) * size, pool_size))
        latents = fitting_latents(generator, dataset, seed, numbers)
        features = generator.generate(latents, layers).features
        means = [features[layer].float().mean(dim=(2, 3)).cpu() for layer in layers]
        vectors.append(torch.cat(means, dim=1))
        classes.append(latents.class_labels)
        progress.advance(len(numbers))
    rows = torch.cat(vectors)
    deviation, mean = torch.std_mean(rows, dim=0, correction=0)
    # Standardised: channels of large values would decide alone. The clamp is for constant channels.
    return _Pool((rows - mean) / deviation.clamp(min=1e-6), np.concatenate(classes))
