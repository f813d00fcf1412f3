"""How much a dataset's masks agree with those of other methods: quantiles, and what a filter keeps."""

from collections.abc import Iterable
from dataclasses import dataclass

from factory.manifest.coverage import Histogram
from factory.manifest.records import ShardRecord
from factory.manifest.statistics import confidence_of, quantile, share_from
from factory.manifest.totals import sum_lists

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles."""

LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Values of a filter; edges of the histogram's bins, so that what it keeps is exact."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The distribution of `agreement` over samples."""

    quantiles: dict[float, float]
    """Agreement by share of the samples that have less; off by a bin (0.02) at most."""
    kept: dict[float, float]
    """Share of the samples that a filter keeps, by its least agreement."""


def find_compared(records: Iterable[ShardRecord]) -> Compared | None:
    """The distribution over the samples of some shards; None if their masks were not compared."""
    return compare(sum_lists([r.coverage.agreement for r in records if r.coverage is not None]))


def compare(counts: Histogram) -> Compared | None:
    """The distribution that a histogram of agreement tells; None if it is empty."""
    if not counts:
        return None
    return Compared(
        {share: round(confidence_of(quantile(counts, share)), 3) for share in SHARES},
        {least: round(share_from(counts, least), 4) for least in LIMITS},
    )
