"""Coverage: mergeable statistics of a set of samples, such as counts by class, area and confidence.

Every field is a count, or the smallest members of a set, so that merging is exact in any order. A
receipt contains the coverage of its shard; a service merges these.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, model_serializer

from factory.described import Described
from factory.manifest.measure import NUM_CELLS, Measures
from factory.spec.coverage import AREA_EDGES

MOST_GROUPS = 64
"""Areas are counted by generator class up to this many classes; above, all under the class -1, because a
receipt holds one histogram per pair of generator class and mask class."""

SKETCH_SIZE = 128
"""Maximum number of perceptual hashes in a coverage."""

CONFIDENCE_BINS = 50
"""Bins of the histograms of confidence and agreement."""

_SHARPNESS_BINS = 40
_BORDER_BINS = 50
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

_Count = Annotated[int, Field(ge=0, lt=2**53)]
Counts = Annotated[dict[int, _Count], Field(max_length=2**16)]
Histogram = Annotated[list[_Count], Field(max_length=NUM_CELLS)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Areas = Annotated[list[Histogram], Field(max_length=2**8)]


class Coverage(Described):
    """The coverage of some samples. Trailing zeros of lists are left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    made: Counts = Field({})
    """Generated images, kept or not, by generator class; -1 = the generator has none."""
    kept: Counts = Field({})
    """Kept images by generator class."""
    area: dict[int, _Areas] = Field({}, max_length=MOST_GROUPS + 1)
    """Kept images that contain a mask class, by generator class (-1: none, or more than 64), then mask
    class, then the class's share of the mask. Bins begin at 0, 0.001, 0.002, 0.005, 0.01, 0.02,
    0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8 and
    0.9."""
    confidence: Histogram = Field([])
    """Kept images by mean mask confidence, in 50 equal bins from 0 to 1."""
    agreement: Histogram = Field([])
    """Kept images by the agreement of their masks with those of other methods, in the same bins; none,
    and left out of receipts, where masks were not compared."""
    sharpness: Histogram = Field([])
    """Kept images by the variance v of their Laplacian: bin floor(2 log2(1 + v)), at most 39."""
    border: Histogram = Field([])
    """Kept images by the share of neighbouring pixels that differ in class: bins of 0.01, at most
    49."""
    cells: Histogram = Field([])
    """Kept images by cell of the latent space, 256 cells of equal probability."""
    hashes: list[tuple[_Hash, _Count]] = Field([], max_length=SKETCH_SIZE)
    """Perceptual hashes with the number of kept images that have each: the first 128 in a fixed
    pseudo-random order, which is a uniform sample of the distinct hashes."""

    @model_serializer(mode="wrap")
    def _without_what_was_not_measured(
        self, fields: Callable[["Coverage"], dict[str, Any]]
    ) -> dict[str, Any]:
        """Receipts of datasets without `agreement` stay as they were."""
        whole = fields(self)
        return {name: value for name, value in whole.items() if value or name != "agreement"}

    @property
    def num_kept(self) -> int:
        """Number of kept images."""
        return sum(self.kept.values())

    @property
    def num_made(self) -> int:
        """Number of generated images."""
        return sum(self.made.values())

    def images_with(
        self, mask_class: int, *, min_area: float = 0.0, generator_class: int | None = None
    ) -> int:
        """Number of kept images in which a mask class has at least a share of the mask (0 = any).

        Args:
            mask_class: Id of the mask class.
            min_area: One of `AREA_EDGES`, as a share.
            generator_class: Count only images of this class; None counts all.
        """
        first = AREA_EDGES.index(round(1000 * min_area))
        groups = self.area.values() if generator_class is None else [self._group(generator_class)]
        return sum(sum(group[mask_class][first:]) for group in groups if mask_class < len(group))

    def _group(self, generator_class: int) -> list[Histogram]:
        return self.area.get(generator_class, [])


def cover_samples(
    class_labels: Sequence[int],
    class_px: Sequence[Sequence[int]],
    sizes_px: Sequence[int],
    confidence: Sequence[float],
    measures: Sequence[Measures],
    *,
    rejected: Mapping[int, int],
    num_generator_classes: int,
) -> Coverage:
    """Compute the coverage of samples, given as columns of equal length.

    Args:
        class_labels: Generator class of each sample, -1 for none.
        class_px: Pixels of each mask class, of each sample.
        sizes_px: Pixels of each mask.
        confidence: Mean mask confidence, 0 to 1.
        measures: Image and mask statistics; unknown values are not counted.
        rejected: Rejected images by generator class.
        num_generator_classes: Number of classes of the generator.
    """
    kept = Counter(int(label) for label in class_labels)
    known = [m for m in measures if m.sharpness >= 0]
    return Coverage(
        made=_sorted(kept + Counter(rejected)),
        kept=_sorted(kept),
        area=_areas(class_labels, class_px, sizes_px, num_generator_classes),
        confidence=_histogram((int(c * CONFIDENCE_BINS) for c in confidence), CONFIDENCE_BINS),
        sharpness=_histogram((int(2 * math.log2(1 + m.sharpness)) for m in known), _SHARPNESS_BINS),
        border=_histogram((int(m.border * 100) for m in known), _BORDER_BINS),
        cells=_histogram((m.latent_cell for m in measures if m.latent_cell >= 0), NUM_CELLS),
        hashes=_sketch(Counter(m.dhash for m in measures if m.dhash)),
    )


def cover_agreement(agreement: Iterable[float]) -> Coverage:
    """What samples whose masks were compared, with these values of 0 to 1, add to their coverage."""
    bins = (int(value * CONFIDENCE_BINS) for value in agreement)
    return Coverage(agreement=_histogram(bins, CONFIDENCE_BINS))


def merge_coverage(parts: Iterable[Coverage]) -> Coverage:
    """Merge the coverage of disjoint sets of samples; exact, in any order."""
    made: Counter[int] = Counter()
    kept: Counter[int] = Counter()
    hashes: Counter[str] = Counter()
    areas: dict[int, list[Histogram]] = {}
    sums: dict[str, Histogram] = {name: [] for name in _HISTOGRAMS}
    for part in parts:
        made.update(part.made)
        kept.update(part.kept)
        hashes.update(dict(part.hashes))
        # Cut back now and then, so that merging ten thousand receipts stays small. A hash outside of the
        # first 128 of a part cannot be among the first 128 of the whole, so that nothing is lost.
        if len(hashes) > 16 * SKETCH_SIZE:
            hashes = Counter(dict(_sketch(hashes)))
        for group, table in part.area.items():
            rows = zip_longest(areas.get(group, []), table, fillvalue=())
            areas[group] = [_add(ours, theirs) for ours, theirs in rows]
        for name in _HISTOGRAMS:
            sums[name] = _add(sums[name], getattr(part, name))
    area = {group: areas[group] for group in sorted(areas)}
    return Coverage(
        made=_sorted(made), kept=_sorted(kept), area=area, hashes=_sketch(hashes), **sums
    )


_HISTOGRAMS = ("confidence", "agreement", "sharpness", "border", "cells")


def _areas(
    class_labels: Sequence[int],
    class_px: Sequence[Sequence[int]],
    sizes_px: Sequence[int],
    num_generator_classes: int,
) -> dict[int, list[Histogram]]:
    px = np.array(class_px, dtype=np.int64)
    if not len(px):
        return {}
    edges = np.array(AREA_EDGES[1:], dtype=np.int64)
    # Compared as products of integers: a share on an edge falls into the same bin on every machine.
    bins = (1000 * px[..., None] >= edges * np.array(sizes_px)[:, None, None]).sum(axis=-1)
    by_class = num_generator_classes <= MOST_GROUPS
    groups = np.array(class_labels) if by_class else np.full(len(px), -1)
    found = {}
    for group in np.unique(groups):
        mine = groups == group
        found[int(group)] = [
            _histogram(bins[mine, k][px[mine, k] > 0].tolist(), len(AREA_EDGES))
            for k in range(px.shape[1])
        ]
    return found


def _histogram(bins: Iterable[int], num_bins: int) -> Histogram:
    """Count values by bin; those beyond the last bin fall into it."""
    counts = Counter(min(position, num_bins - 1) for position in bins)
    return [counts[position] for position in range(max(counts, default=-1) + 1)]


def _add(ours: Sequence[int], theirs: Sequence[int]) -> Histogram:
    return [a + b for a, b in zip_longest(ours, theirs, fillvalue=0)]


def _sorted(counts: Mapping[int, int]) -> Counts:
    return {label: counts[label] for label in sorted(counts) if counts[label]}


def _sketch(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    first = sorted(counts, key=_rank)[:SKETCH_SIZE]
    return [(text, counts[text]) for text in sorted(first, key=_rank)]


def _rank(text: str) -> tuple[int, str]:
    """Sort key of a hash in an order independent of image content: splitmix64 (Steele et al. 2014)."""
    value = int(text, 16)
    for shift, factor in zip((30, 27), _MIX, strict=True):
        value = ((value ^ (value >> shift)) * factor) % 2**64
    return value ^ (value >> 31), text
