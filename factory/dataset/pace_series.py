"""How the making of a dataset went over time, in a bounded number of intervals, from its receipts.

A shard counts for the time in which it was made, not only for the moment of its commit: otherwise the
rate of shards that take minutes would be zero most of the time. Series of different workers or runs
can be merged, because the longer intervals of each consist of whole shorter ones.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from factory.dataset.pace import time_of
from factory.manifest.records import ShardRecord

MOST_INTERVALS = 96
"""Intervals of a series."""
_DAY = 86_400
_WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200, _DAY)
"""Lengths of intervals in seconds: each divides the next one; doubled after the last."""
_LONGEST_SHARD_S = 30 * _DAY
"""A receipt of unknown origin may state any time."""


@dataclass(slots=True)
class Amounts:
    """What was made in an interval; fractions, because a shard is spread over its time."""

    samples: float = 0.0
    """Committed samples."""
    rejected: float = 0.0
    """Generated images that were not kept."""
    worker_s: float = 0.0
    """Seconds that workers spent on shards."""
    generate_s: float = 0.0
    """Seconds of these in the generator and the segmenter."""

    def add(self, other: "Amounts", share: float = 1.0) -> None:
        """Add a share of `other`."""
        self.samples += share * other.samples
        self.rejected += share * other.rejected
        self.worker_s += share * other.worker_s
        self.generate_s += share * other.generate_s


@dataclass(frozen=True, slots=True)
class PaceSeries:
    """Amounts by interval; intervals in which nothing was made are left out."""

    width_s: int = _WIDTHS[0]
    """Length of an interval."""
    start_s: float = 0.0
    """When the first shard was begun, in seconds since 1970; 0 if there is none."""
    end_s: float = 0.0
    """When the last one was committed."""
    intervals: Mapping[int, Amounts] = field(default_factory=dict)
    """By number: interval `n` begins `n * width_s` seconds after 1970."""

    def seconds_of(self, number: int) -> float:
        """The seconds of an interval that lie between the series' start and end; at least one."""
        first, end = number * self.width_s, (number + 1) * self.width_s
        return max(1.0, float(min(end, self.end_s) - max(first, self.start_s)))


def make_series(records: Sequence[ShardRecord]) -> PaceSeries:
    """The series of some shards: at most `MOST_INTERVALS` intervals, as short as that allows."""
    if not records:
        return PaceSeries()
    spans = [_span(record) for record in records]
    start, end = min(first for first, _ in spans), max(last for _, last in spans)
    width = _fitting(start, end, _WIDTHS[0])
    intervals: dict[int, Amounts] = {}
    for record, span in zip(records, spans, strict=True):
        whole = Amounts(
            float(record.num_samples),
            float(sum(record.num_rejected.values())),
            span[1] - span[0],
            min(record.generate_s, span[1] - span[0]),
        )
        for number, share in _shares(*span, width):
            intervals.setdefault(number, Amounts()).add(whole, share)
    return PaceSeries(width, start, end, intervals)


def merge_series(parts: Iterable[PaceSeries]) -> PaceSeries:
    """The series of all shards of `parts`, in any order."""
    return reduce(_merge, (part for part in parts if part.intervals), PaceSeries())


def _merge(one: PaceSeries, other: PaceSeries) -> PaceSeries:
    if not one.intervals:
        return other
    start, end = min(one.start_s, other.start_s), max(one.end_s, other.end_s)
    width = _fitting(start, end, max(one.width_s, other.width_s))
    intervals: dict[int, Amounts] = {}
    for part in (one, other):
        for number, amounts in part.intervals.items():
            inside = number * part.width_s // width
            intervals.setdefault(inside, Amounts()).add(amounts)
    return PaceSeries(width, start, end, intervals)


def select_run(records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """The shards of the run that committed last."""
    if not records:
        return []
    latest = max(records, key=lambda record: (time_of(record), record.shard_index))
    return [record for record in records if record.run_id == latest.run_id]


def count_by_worker(records: Iterable[ShardRecord]) -> Counter[str]:
    """Samples by worker."""
    counts: Counter[str] = Counter()
    for record in records:
        counts[record.worker] += record.num_samples
    return counts


def _span(record: ShardRecord) -> tuple[float, float]:
    """When a shard was begun and committed; a receipt tells the latter in whole seconds."""
    end = time_of(record).timestamp()
    return end - min(max(record.wall_s, 1e-3), _LONGEST_SHARD_S), end


def _fitting(start: float, end: float, width: int) -> int:
    """The shortest length, from `width` on, with which few enough intervals cover the time."""
    while end // width - start // width >= MOST_INTERVALS:
        width = next((longer for longer in _WIDTHS if longer > width), 2 * width)
    return width


def _shares(start: float, end: float, width: int) -> Iterator[tuple[int, float]]:
    """The intervals from `start` to `end`, each with its share of that time."""
    for number in range(int(start // width), int(end // width) + 1):
        inside = min(end, (number + 1) * width) - max(start, number * width)
        if inside > 0:
            yield number, inside / (end - start)
