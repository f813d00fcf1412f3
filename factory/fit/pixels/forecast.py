"""How long work on fitting pixels will take: a few pixels' work, timed here, times what all need."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from factory.fit.cost import Probe
from factory.fit.pixels.budget import SEEDING_PIXELS
from factory.fit.pixels.part import Part
from factory.fit.pixels.sampling import Sampling, read_batch
from factory.fit.pixels.separation import num_at_once


@dataclass(frozen=True, slots=True)
class SearchRounds:
    """Newton rounds that the search for a plane takes, as seen on StyleGAN2 and DCGAN features."""

    on_all: float
    """On all pixels."""
    on_some: float = 0.0
    """Before those, on every `stride`-th pixel."""
    stride: int = 1
    """See `on_some`."""


_LOOKS = 1.8
"""Losses computed in a round: steps that go too far are halved."""

_LLOYD_ROUNDS, _TRIAL_ROUNDS = 60, 160
_TRIED_CLUSTERS = 8
_TIMED_PIXELS = 256
_TIMED_BYTES = 2**25


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
    centres = vectors[:num_clusters].clone()
    lloyd_s = _timed(lambda: part.lloyd(centres)) / len(vectors)
    trial = min(SEEDING_PIXELS, sampling.num_pixels)
    return lloyd_s * (sampling.num_pixels * _LLOYD_ROUNDS + trial * _TRIAL_ROUNDS)


def merging_seconds(
    part: Part, vectors: Tensor, sampling: Sampling, num_clusters: int, rounds: SearchRounds
) -> float:
    """Seconds of one thread from the clusters to their merge tree: a plane for each of its nodes."""
    # Copies of the few pixels, beyond what a processor's cache holds: passes over all pixels read them
    # from memory, which takes twice as long.
    many = max(_TIMED_BYTES // (vectors.element_size() * max(vectors.numel(), 1)), 1)
    part.use(vectors.repeat(many, 1))
    part.assign(vectors[: min(_TRIED_CLUSTERS, len(vectors))].clone())
    pieces = sampling.num_pixels / (many * len(vectors))
    at_once = min(num_at_once(vectors.shape[1]), num_clusters)
    # The leaves' planes are searched many at a time, which reads the pixels once for all of them;
    # those of merged clusters one by one, since each merge depends on the one before.
    leaf_s = _search_seconds(part, vectors.shape[1], at_once, pieces, rounds) / at_once
    merged_s = _search_seconds(part, vectors.shape[1], 1, pieces, rounds)
    return num_clusters * leaf_s + (num_clusters - 2) * merged_s


def _search_seconds(
    part: Part, num_channels: int, num_planes: int, pieces: float, rounds: SearchRounds
) -> float:
    """Seconds of a search for some planes over so many times the pixels of `part`."""
    planes = torch.zeros(num_planes, num_channels + 1)
    columns = torch.zeros(num_planes, dtype=torch.int64)
    curves = torch.eye(num_channels + 1, dtype=torch.float64).repeat(num_planes, 1, 1)
    hinge_s = _timed(lambda: part.hinge(columns, planes)) * pieces
    curve_s = _timed(lambda: part.curve(columns, planes)) * pieces
    solve_s = _timed(lambda: torch.linalg.solve(curves, planes.double()))
    # Second derivatives come from as many pixels in a round on some as in one on all.
    in_all = rounds.on_all + rounds.on_some
    looks = _LOOKS * (rounds.on_all + rounds.on_some / rounds.stride)
    return looks * hinge_s + in_all * (curve_s + solve_s)


def _timed(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
