"""How long work on fitting pixels will take: a few pixels' work, timed here, times what all need."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from factory.fit.cost import Probe
from factory.fit.pixels.budget import SEEDING_PIXELS
from factory.fit.pixels.part import Part
from factory.fit.pixels.sampling import NUM_PARTS, Sampling, read_batch

_ROUNDS = 14
"""Newton rounds of a plane, as seen on StyleGAN2 features."""

_LLOYD_ROUNDS, _TRIAL_ROUNDS = 60, 160
_TRIED_CLUSTERS = 8
_TIMED_PIXELS = 256


def sample_few(probe: Probe, sampling: Sampling) -> tuple[Part, Tensor]:
    """A part with some thousand pixels of `sampling` to time work on, and their vectors."""
    few = replace(sampling, pixels_per_image=min(sampling.pixels_per_image, _TIMED_PIXELS))
    vectors = torch.cat(read_batch(probe.generator, probe.dataset, few, 0))
    part = Part(0, probe.generator, probe.dataset, probe.device)
    part.use(vectors)
    return part, vectors


def sampling_seconds(probe: Probe, sampling: Sampling, batch_s: float) -> float:
    """Seconds of one thread to sample all pixels once; `batch_s` is what a batch of images takes."""
    return math.ceil(sampling.num_images / probe.dataset.batch_size) * batch_s


def clustering_seconds(part: Part, vectors: Tensor, sampling: Sampling, num_clusters: int) -> float:
    """Seconds of one thread from the sampled pixels to `num_clusters` centres of k-means."""
    centres = vectors[: min(_TRIED_CLUSTERS, len(vectors))].clone()
    lloyd_s = _timed(lambda: part.lloyd(centres)) / (len(vectors) * len(centres))
    trial = min(SEEDING_PIXELS, sampling.num_pixels)
    return lloyd_s * num_clusters * (sampling.num_pixels * _LLOYD_ROUNDS + trial * _TRIAL_ROUNDS)


def merging_seconds(part: Part, vectors: Tensor, sampling: Sampling, num_clusters: int) -> float:
    """Seconds of one thread from the clusters to their merge tree: a plane for each of its nodes."""
    part.assign(vectors[: min(_TRIED_CLUSTERS, len(vectors))].clone())
    plane = torch.zeros(1, vectors.shape[1] + 1)
    hinge_s = _timed(lambda: part.hinge(torch.tensor([0]), plane))
    hinge_s += _timed(lambda: part.curve(torch.tensor([0]), plane))
    curve = torch.eye(len(plane[0]), dtype=torch.float64)
    solve_s = _timed(lambda: torch.linalg.solve(curve, plane[0].double()))
    pieces = max(sampling.num_pixels / len(vectors), NUM_PARTS if sampling.num_pixels else 0)
    return (2 * num_clusters - 2) * _ROUNDS * (hinge_s * math.ceil(pieces) + solve_s)


def _timed(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
