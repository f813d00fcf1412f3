"""How long a fit will take: a few pixels' work, timed here, times what all of them need."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from factory.fit.pixels.budget import SEEDING_PIXELS
from factory.fit.pixels.part import Part
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.spec import KlishSpec, KMeansSpec

_ROUNDS = 14
"""Newton rounds of a plane, as seen on StyleGAN2 features."""

_LLOYD_ROUNDS, _TRIAL_ROUNDS = 60, 160
_TRIED_CLUSTERS = 8


def forecast(
    spec: KlishSpec | KMeansSpec, sampling: Sampling, part: Part, vectors: Tensor
) -> float:
    """Seconds of one thread from the sampled pixels to the file; `part` is used for the timing.

    `vectors` are some thousand pixels, as many channels as the fit has.
    """
    part.use(vectors)
    count = min(_TRIED_CLUSTERS, len(vectors))
    centres = vectors[:count].clone()
    lloyd_s = _timed(lambda: part.lloyd(centres)) / (len(vectors) * count)
    is_klish = isinstance(spec, KlishSpec)
    clusters = spec.initial_clusters if isinstance(spec, KlishSpec) else spec.num_clusters
    trial = min(SEEDING_PIXELS, sampling.num_pixels)
    seconds = lloyd_s * clusters * (sampling.num_pixels * _LLOYD_ROUNDS + trial * _TRIAL_ROUNDS)
    if not is_klish:
        return seconds
    part.assign(centres)
    plane = torch.zeros(1, vectors.shape[1] + 1)
    hinge_s = _timed(lambda: part.hinge(torch.tensor([0]), plane))
    hinge_s += _timed(lambda: part.curve(torch.tensor([0]), plane))
    curve = torch.eye(len(plane[0]), dtype=torch.float64)
    solve_s = _timed(lambda: torch.linalg.solve(curve, plane[0].double()))
    pieces = max(sampling.num_pixels / len(vectors), NUM_PARTS if sampling.num_pixels else 0)
    return seconds + (2 * clusters - 2) * _ROUNDS * (hinge_s * math.ceil(pieces) + solve_s)


def _timed(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
