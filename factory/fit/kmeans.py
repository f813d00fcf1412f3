"""K-means++ over feature pixels, as a linear head.

Source: Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding"; on generator
features without normalisation as in KLiSH (Xu et al., TPAMI 2023), stage one. Where we differ: four
seedings are tried on a sample of the pixels, and the best of them goes on with all.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext, median_of
from factory.fit.cost import FitCost, Probe, likely_head
from factory.fit.pixels.budget import (
    FLOAT_BYTES,
    SEEDING_PIXELS,
    HeldBytes,
    most_pixels,
    plan_sampling,
)
from factory.fit.pixels.forecast import Rehearsal
from factory.fit.pixels.pool import added
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.fit.progress import Progress
from factory.generate.base import GeneratorFacts
from factory.identity import counter_rng
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import weight_name
from factory.spec.kmeans import KMeansSpec

_SEEDINGS = 4
_ROUNDS = 100
_LEAST_GAIN, _LEAST_TRIAL_GAIN = 1e-5, 1e-4

# Rounds until a gain is too small, as seen on the toy, StyleGAN2 and a DCGAN with 2 to 100 clusters.
_LIKELY_TRIAL_ROUNDS, _TRIAL_ROUNDS_PER_CLUSTER = 26, 4
_ROUNDS_OF_ONE, _ROUNDS_POWER = 1.4, 0.85

MOST_ROUNDS = _SEEDINGS * _ROUNDS
"""Rounds of all seedings, if none ends early."""


def fit_kmeans(spec: KMeansSpec, context: FitContext) -> bytes:
    """Fit on pixels of the generator; returns the segmenter file.

    Clusters are numbered by decreasing size, so that equal clusterings have equal files.

    Raises:
        JobError: If there are fewer distinct pixels than clusters, a layer is unknown, or the
            pixels do not fit the memory they may use.
    """
    sampling = choose_pixels(spec, context.pool.facts)
    context.sample(sampling, "sampling")
    centres, inertia = cluster(context, spec.num_clusters, spec.fit.seed)
    sizes = added([(part,) for part in context.pool.update("assign", centres)])[0]
    centres = centres[sizes.argsort(descending=True, stable=True)]
    margins = [nearest(rows, centres)[1] for rows in context.pool.query("spread", SEEDING_PIXELS)]
    tensors = {weight_name(n): block.cpu() for n, block in sampling.split(centres).items()}
    tensors["bias"] = -centres.square().sum(dim=1).cpu() / 2
    return context.encode(
        tensors,
        layers=sampling.layers,
        labels=unnamed_labels(spec.num_clusters),
        margin_scale=median_of(margins),
        fitted_on={
            "num_images": sampling.num_images,
            "num_pixels": sampling.num_pixels,
            "num_channels": sampling.num_channels,
            "explained": round(1 - inertia * sampling.num_pixels / _spread(context, centres), 6),
        },
    )


def choose_pixels(spec: KMeansSpec, facts: GeneratorFacts) -> Sampling:
    """Choose the pixels to fit on.

    Raises:
        JobError: If a layer is unknown, or the pixels do not fit `fit.memory_gib`.
    """

    def held(channels: int) -> HeldBytes:
        return HeldBytes(0, clustering_bytes(spec.num_clusters, channels))

    return plan_sampling(spec.layers, spec.fit, facts, held)


def cluster(
    context: FitContext, num_clusters: int, seed: int
) -> tuple[Float[Tensor, "k c"], float]:
    """Centres, and the mean squared distance to them. Stops when a round gains less than 1e-5.

    Raises:
        JobError: If there are fewer distinct vectors than clusters.
    """
    progress = context.progress
    progress.begin("clusters", MOST_ROUNDS + _ROUNDS)
    sample = torch.cat(context.pool.query("spread", SEEDING_PIXELS // NUM_PARTS))
    centres = try_seedings(sample, num_clusters, seed, progress)
    del sample
    before = float("inf")
    for done in range(_ROUNDS):
        sums, sizes, inertia = added(context.pool.query("lloyd", centres))
        now = float(inertia) / int(sizes.sum())
        if now >= before * (1 - _LEAST_GAIN):
            break
        # An empty cluster keeps its centre: moving it elsewhere would need a random choice here.
        before = now
        means = (sums / sizes[:, None].clamp(min=1)).float()
        centres = torch.where(sizes[:, None] > 0, means, centres)
        progress.reach(MOST_ROUNDS + done)
    progress.reach(MOST_ROUNDS + _ROUNDS)
    return centres, now


def try_seedings(
    vectors: Float[Tensor, "p c"], num_clusters: int, seed: int, progress: Progress
) -> Float[Tensor, "k c"]:
    """Centres of the best of four runs on a sample; progress counts towards `MOST_ROUNDS`.

    Raises:
        JobError: If there are fewer distinct vectors than clusters.
    """
    trials = []
    for attempt in range(_SEEDINGS):
        centres = _seeded(vectors, num_clusters, counter_rng("seeding", seed, attempt))
        before = now = float("inf")
        for done in range(_ROUNDS):
            ids, _ = nearest(vectors, centres)
            now = float((vectors - centres[ids]).square_().sum(dim=1).mean())
            if now >= before * (1 - _LEAST_TRIAL_GAIN):
                break
            before, centres = now, _means(vectors, ids, centres)
            progress.reach(attempt * _ROUNDS + done)
        trials.append((now, centres))
    return min(trials, key=lambda trial: trial[0])[1]


def nearest(
    vectors: Float[Tensor, "p c"], centres: Float[Tensor, "k c"]
) -> tuple[Int64[Tensor, " p"], Float[Tensor, " p"]]:
    """The nearest centre of each vector, and its lead over the second in the head's logits."""
    logits = torch.addmm(-centres.square().sum(dim=1) / 2, vectors, centres.T)
    best = logits.topk(2, dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def clustering_bytes(num_clusters: int, channels: int) -> int:
    """What the seeding and the sums of Lloyd's algorithm hold, at their largest."""
    seeding = 2 * SEEDING_PIXELS * channels * FLOAT_BYTES
    return seeding + NUM_PARTS * num_clusters * channels * 2 * FLOAT_BYTES


def _spread(context: FitContext, centres: Tensor) -> float:
    """Sum of the squared distances of all pixels to their mean."""
    sums, sizes, _ = added(context.pool.query("lloyd", torch.zeros_like(centres[:1])))
    mean = (sums / sizes[:, None].clamp(min=1)).float()
    return float(added(context.pool.query("lloyd", mean))[2])


def _seeded(vectors: Tensor, num_clusters: int, rng: np.random.Generator) -> Tensor:
    """K-means++ seeding: each next centre is a vector drawn by its squared distance to the rest."""
    chosen = [int(rng.integers(len(vectors)))]
    distance = (vectors - vectors[chosen[0]]).square_().sum(dim=1)
    while len(chosen) < num_clusters:
        reach = distance.double().cumsum(0)
        if float(reach[-1]) == 0:
            raise JobError(
                f"dataset.segmenter.num_clusters: found {num_clusters}, but the fitting pixels hold "
                f"only {len(chosen)} distinct vectors; ask for fewer clusters or fit on more images"
            )
        place = torch.searchsorted(reach, rng.random() * float(reach[-1]), right=True)
        chosen.append(min(int(place), len(vectors) - 1))
        latest = (vectors - vectors[chosen[-1]]).square_().sum(dim=1)
        distance = torch.minimum(distance, latest)
    return vectors[chosen].clone()


def _means(vectors: Tensor, ids: Tensor, centres: Tensor) -> Tensor:
    """The mean of each cluster; an empty cluster keeps its centre."""
    members = torch.nn.functional.one_hot(ids, len(centres)).to(vectors.dtype)
    sizes = members.sum(dim=0)[:, None]
    return torch.where(sizes > 0, members.T @ vectors / sizes.clamp(min=1), centres)


def seeding_seconds(
    rehearsal: Rehearsal, vectors: Float[Tensor, "p c"], num_clusters: int
) -> float:
    """Seconds of `try_seedings` on as many vectors, which this thread does alone."""
    count = min(num_clusters, len(vectors))
    centres = vectors[:count].clone()
    far_s = rehearsal.timed(lambda: (vectors - centres[0]).square_().sum(dim=1).double().cumsum(0))

    def work() -> None:
        ids, _ = nearest(vectors, centres)
        (vectors - centres[ids]).square_().sum(dim=1).mean()
        _means(vectors, ids, centres)

    rounds = min(_LIKELY_TRIAL_ROUNDS, _TRIAL_ROUNDS_PER_CLUSTER * num_clusters)
    return _SEEDINGS * (num_clusters * far_s + rounds * rehearsal.timed(work))


def clustering_seconds(rehearsal: Rehearsal, num_clusters: int) -> float:
    """Seconds of `cluster`."""
    pixels = min(SEEDING_PIXELS, rehearsal.sampling.num_pixels)
    copies = rehearsal.vectors.repeat(-(-pixels // len(rehearsal.vectors)), 1)[:pixels]
    centres = copies[:num_clusters].clone()
    rounds = min(float(_ROUNDS), _ROUNDS_OF_ONE * math.pow(num_clusters, _ROUNDS_POWER))
    round_s = rehearsal.seconds("lloyd", centres)
    return seeding_seconds(rehearsal, copies, num_clusters) + rounds * round_s


def _seconds(spec: KMeansSpec, probe: Probe, batch_s: float) -> float:  # noqa: ARG001 - no masks are made in a fit
    rehearsal = Rehearsal(probe, choose_pixels(spec, probe.generator.facts))
    seconds = rehearsal.sampling_s + clustering_seconds(rehearsal, spec.num_clusters)
    rehearsal.close()
    return seconds


COST = FitCost(
    seconds=_seconds,
    shared_work=lambda spec: most_pixels(spec.fit) * spec.num_clusters,
    stand_in=lambda spec, probe: likely_head(probe, spec.num_clusters, spec.layers),
)
"""The cost of a fit by k-means."""
