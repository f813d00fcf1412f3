"""Which feature maps to cluster: those whose clusters say what lies at a place, and not where it is.

A generator's coarse maps mostly say where in the picture they are: their clusters are the same regions
in every image. Others say which image they are of. What lies at a place is seen in several layers at
once, so that a layer is scored by how far its clusters agree with those of the layers next to it, beyond
what they would if each image were another one of the same places, or each place another one of the same
image. All of this is ours; KLiSH's release takes the finest maps up to a number of channels.
"""

import threading
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext
from factory.fit.kmeans import nearest, seeding_seconds, try_seedings
from factory.fit.pixels.ball import find_ball
from factory.fit.pixels.budget import SEEDING_PIXELS
from factory.fit.pixels.forecast import Rehearsal
from factory.fit.pixels.sampling import (
    FIRST_FITTING_INDEX,
    MOST_CHANNELS,
    Sampling,
    places_of,
)
from factory.fit.progress import Progress
from factory.generate.base import GeneratorFacts
from factory.identity import counter_rng
from factory.segment.agreement import adjusted_rand

# Enough for scores that repeat within .05, and little beside any fit.
_NUM_IMAGES, _PLACES_PER_IMAGE = 64, 64
_NUM_CLUSTERS, _NUM_SHUFFLES = 8, 4
# Pixels are exchanged between images within cells of a grid this fine: eight of an image's pixels lie
# in a row of it.
_GRID = 8
# Scores fall slowly from layer to layer where all of them show content, and many times where one shows
# none: .02 and .11 of .36 for the two coarsest maps of the shipped generator, .02 and .09 of .35 for
# those of a DCGAN of eyes.
_LEAST_SHARE = 1 / 3


def score_layers(context: FitContext, seed: int) -> dict[str, float]:
    """The content of the last map of each resolution, from coarse to fine: 0 by chance, at most 1.

    Maps that are the same everywhere are left out: they would say of their neighbours that nothing in
    them is content.
    """
    names, widths = _candidates(context.pool.facts)
    # Corners stay aligned: clusterings are compared with each other, and nothing is told of masks.
    sampling = Sampling(names, widths, _NUM_IMAGES, _PLACES_PER_IMAGE, seed)
    context.sample(sampling, "layers", settle=True)
    vectors = torch.cat(context.pool.query("spread", SEEDING_PIXELS)).cpu()
    indices = range(FIRST_FITTING_INDEX, FIRST_FITTING_INDEX + _NUM_IMAGES)
    places = torch.cat([places_of(sampling, index) for index in indices])
    blocks = zip(names, torch.split(vectors, list(widths), dim=1), strict=True)
    changing = {name: block for name, block in blocks if bool(block.any())}  # others are settled: 0
    context.progress.begin("layer scores", len(changing))
    owners = []
    for block in changing.values():
        owners.append(_clusters(block, seed, context.progress.stop))
        context.progress.advance(1)
    return dict(zip(changing, contents(owners, places, _PLACES_PER_IMAGE), strict=True))


def seconds_of_scores(rehearsal: Rehearsal) -> float:
    """Seconds of `score_layers`: its images, and clusters of each layer's block of the vectors."""
    seconds = _NUM_IMAGES * rehearsal.image_s
    pixels = _NUM_IMAGES * _PLACES_PER_IMAGE
    for block in torch.split(rehearsal.vectors.cpu(), list(rehearsal.sampling.widths), dim=1):
        copies = block.repeat(-(-pixels // len(block)), 1)[:pixels]
        seconds += seeding_seconds(rehearsal, copies, _NUM_CLUSTERS)
    return seconds


def best_layers(scores: dict[str, float], facts: GeneratorFacts) -> tuple[str, ...]:
    """The layers with at least a third of the highest score, the finest up to 1000 channels."""
    least = _LEAST_SHARE * max(scores.values())
    chosen = [name for name, score in scores.items() if score >= least]
    while len(chosen) > 1 and sum(facts.layers[n].channels for n in chosen) > MOST_CHANNELS:
        chosen.pop(0)
    return tuple(chosen)


def contents(
    owners: Sequence[Int64[Tensor, " p"]], places: Float32[Tensor, "p 2"], per_image: int
) -> list[float]:
    """Content of each layer: its mean agreement with the layers before and after it.

    Args:
        owners: Each pixel's cluster, layer by layer.
        places: Where each pixel lies, as (x, y) from -1 to 1.
        per_image: Pixels of each image, one image after the other.

    Returns:
        Adjusted Rand indices, less the larger of those with images and with places exchanged.
    """
    cells = ((places + 1) / 2 * _GRID).long().clamp(0, _GRID - 1) @ torch.tensor([1, _GRID])
    images = torch.arange(len(places)) // per_image
    pairs = [_content(one, other, cells, images) for one, other in pairwise(owners)]
    padded = [pairs[:1], *([one, other] for one, other in pairwise(pairs)), pairs[-1:]]
    return [sum(near) / len(near) for near in padded] if pairs else [1.0] * len(owners)


def _candidates(facts: GeneratorFacts) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The last map of each resolution and their widths; maps of a resolution hold nearly the same."""
    last = {shape.height: name for name, shape in facts.layers.items()}
    names = tuple(last[height] for height in sorted(last))
    return names, tuple(facts.layers[name].channels for name in names)


def _clusters(block: Float32[Tensor, "p w"], seed: int, stop: threading.Event) -> Tensor:
    clipped = find_ball(block).clip(block)
    # A layer is one step of the stage: the rounds of its clusters are no steps, but can be stopped.
    unreported = Progress(lambda *_: None, stop)
    try:
        centres = try_seedings(clipped, _NUM_CLUSTERS, seed, unreported)
    except JobError:  # fewer distinct vectors than clusters: a constant map
        return torch.zeros(len(block), dtype=torch.int64)
    return nearest(clipped, centres)[0]


def _content(one: Tensor, other: Tensor, cells: Tensor, images: Tensor) -> float:
    by_chance = max(
        sum(_agreement(one, _exchanged(other, groups, draw)) for draw in range(_NUM_SHUFFLES))
        for groups in (cells, images)
    )
    return _agreement(one, other) - by_chance / _NUM_SHUFFLES


def _exchanged(owners: Tensor, groups: Tensor, draw: int) -> Tensor:
    """The same clusters, permuted at random among the pixels of each group."""
    rng = counter_rng("resampling", 1, draw)
    order = np.argsort(groups.numpy(), kind="stable")
    dealt = order[np.lexsort((rng.random(len(order)), groups.numpy()[order]))]
    found = owners.clone()
    found[torch.from_numpy(order)] = owners[torch.from_numpy(dealt)]
    return found


def _agreement(one: Tensor, other: Tensor) -> float:
    count = int(max(one.max(), other.max())) + 1
    table = torch.bincount(one * count + other, minlength=count**2)
    return adjusted_rand(table.view(count, count).numpy())
