"""Statistics of a coverage: quantiles of histograms, evenness, and rates of near-duplicates."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from factory.manifest.coverage import CONFIDENCE_BINS, Coverage, Histogram

_CLOSE_BITS = 4


def quantile(histogram: Histogram, share: float) -> float:
    """The `share` quantile of a histogram, as a position in bins; 0 if it is empty.

    Counts are assumed to be spread evenly over their bin: the error is at most one bin.
    """
    total = sum(histogram)
    wanted = share * total
    below = 0
    for position, count in enumerate(histogram):
        if count and below + count >= wanted:
            return position + max(0.0, wanted - below) / count
        below += count
    return float(len(histogram))


def confidence_of(bins: float) -> float:
    """Convert a position in the confidence histogram to a confidence."""
    return bins / CONFIDENCE_BINS


def share_from(histogram: Histogram, least: float) -> float:
    """Share of the images of a confidence or agreement histogram from `least` on, an edge of a bin."""
    first = round(least * CONFIDENCE_BINS)
    return sum(histogram[first:]) / max(1, sum(histogram))


def sharpness_of(bins: float) -> float:
    """Convert a position in the sharpness histogram to a variance."""
    return float(2 ** (bins / 2) - 1)


def border_of(bins: float) -> float:
    """Convert a position in the border histogram to a share."""
    return bins / 100


def evenness(counts: Sequence[int], num_places: int) -> float:
    """Evenness of counts: entropy over its maximum. 1 = uniform, 0 = all in one place.

    Source: Pielou 1966, with the first-order bias correction of Miller 1955 for few counts, so that
    uniform draws give about 1 whatever their number.
    """
    visits = np.array([count for count in counts if count], dtype=np.float64)
    total = visits.sum()
    if num_places < 2 or total == 0:
        return 0.0
    odds = visits / total
    entropy = float(-(odds * np.log(odds)).sum()) + (len(visits) - 1) / (2 * total)
    return float(min(1.0, entropy / math.log(num_places)))


def duplicate_rate(coverage: Coverage) -> float:
    """Share of kept images with the perceptual hash of an earlier one, estimated from the sketch.

    The sketch is a uniform sample of distinct hashes with exact counts.
    """
    images = sum(count for _, count in coverage.hashes)
    return 1 - len(coverage.hashes) / images if images else 0.0


def close_pair_rate(coverage: Coverage) -> float:
    """Share of pairs of distinct perceptual hashes that differ in at most 4 of 64 bits."""
    values = [int(text, 16) for text, _ in coverage.hashes]
    pairs = [(a ^ b).bit_count() <= _CLOSE_BITS for a, b in combinations(values, 2)]
    return sum(pairs) / len(pairs) if pairs else 0.0
