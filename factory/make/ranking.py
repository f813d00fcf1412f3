"""Keep the samples of an index range with the largest share of one class (steering `best_by`)."""

import heapq
from collections import Counter
from collections.abc import Sequence

from factory.pack.packing import EncodedSample


class TopSamples:
    """Keeps the `limit` samples with the largest share of one mask class."""

    def __init__(self, limit: int, class_id: int) -> None:
        """Start empty."""
        self._limit = limit
        self._class_id = class_id
        self._best: list[tuple[float, int, EncodedSample]] = []

    def add(self, samples: Sequence[EncodedSample]) -> Counter[int]:
        """Add `samples`; returns the number of samples that were dropped, by generator class.

        Ties go to the lower index, so that the result does not depend on the order of calls.
        """
        out: Counter[int] = Counter()
        for sample in samples:
            facts = sample.facts
            share = facts.class_px[self._class_id] / (facts.width * facts.height)
            entry = (share, -facts.index, sample)
            if len(self._best) < self._limit:
                heapq.heappush(self._best, entry)
            else:
                out[heapq.heappushpop(self._best, entry)[2].facts.class_label] += 1
        return out

    def close(self) -> list[EncodedSample]:
        """The kept samples, by index."""
        return [sample for _, _, sample in sorted(self._best, key=lambda entry: -entry[1])]
