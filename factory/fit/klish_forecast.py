"""How long a fit by KLiSH will take: each of its steps is done once on this machine, and timed."""

import torch

from factory.fit.content import seconds_of_scores
from factory.fit.cost import Probe
from factory.fit.kmeans import clustering_seconds
from factory.fit.pixels.forecast import Rehearsal, SearchRounds, leaves_at_once, search_seconds
from factory.fit.pixels.sampling import Sampling
from factory.fit.resampling import seconds_of_resampling
from factory.spec.klish import KlishSpec

LEAD_PIXELS = 4096
"""Pixels of each part that the median margins come from."""

# Counted on the toy, StyleGAN2 and DCGANs, whose vectors have 16 to 192 components. Leaves start from
# their centres and need more rounds than merged clusters, which start from the planes of their parts.
_PUBLISHED_LEAF_ROUNDS = SearchRounds(1.7, looks=1.1)
_PUBLISHED_MERGED_ROUNDS = SearchRounds(0.95, looks=1.4)
_LEAF_ROUNDS = SearchRounds(0.43, on_some=1.1, stride=4, looks=1.35)
_MERGED_ROUNDS = SearchRounds(0.37, on_some=0.5, stride=4, looks=1.7)


def forecast_seconds(spec: KlishSpec, probe: Probe, sampling: Sampling) -> float:
    """Seconds from the first image to the merge tree."""
    rehearsal = Rehearsal(probe, sampling)
    is_robust = spec.merging != "published"
    seconds = 0.0
    if is_robust:
        if spec.layers == "auto":
            seconds += seconds_of_scores(rehearsal)
        rehearsal.shorten()
        seconds += rehearsal.components_s
    seconds += 2 * rehearsal.sampling_s + clustering_seconds(rehearsal, spec.initial_clusters)
    seconds += _merging_seconds(rehearsal, spec.initial_clusters, is_robust=is_robust)
    rehearsal.close()
    return seconds


def _merging_seconds(rehearsal: Rehearsal, num_clusters: int, *, is_robust: bool) -> float:
    """A plane for each node of the tree, and what is read from it."""
    leaf, merged = _LEAF_ROUNDS, _MERGED_ROUNDS
    if not is_robust:
        leaf, merged = _PUBLISHED_LEAF_ROUNDS, _PUBLISHED_MERGED_ROUNDS
    rehearsal.own(num_clusters)
    channels = rehearsal.vectors.shape[1]
    # The leaves' planes are searched many at a time, which reads the pixels once for all of them;
    # those of merged clusters one by one, since each merge depends on the one before.
    at_once = leaves_at_once(num_clusters, channels)
    leaf_s = search_seconds(rehearsal, at_once, leaf) / at_once
    merged_s = search_seconds(rehearsal, 1, merged) + _reading_seconds(rehearsal, num_clusters)
    seconds = num_clusters * leaf_s + (num_clusters - 2) * merged_s
    if is_robust:
        seconds += seconds_of_resampling(num_clusters, rehearsal.timed)
    return seconds


def _reading_seconds(rehearsal: Rehearsal, num_clusters: int) -> float:
    """After a merge: the new plane's scores, and the leads among clusters that are left."""
    plane = torch.zeros(rehearsal.vectors.shape[1] + 1, device=rehearsal.vectors.device)
    half = torch.arange(max(num_clusters // 2, 2))
    return rehearsal.seconds("hold_one", 0, plane) + rehearsal.seconds(
        "leads", half, LEAD_PIXELS, most=LEAD_PIXELS
    )
