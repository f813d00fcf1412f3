"""The samples that the pipeline produced from a task's index range, and their coverage."""

from collections import Counter
from dataclasses import dataclass

from factory.manifest.coverage import Coverage, cover_agreement, cover_samples, merge_coverage
from factory.pack.fact_kinds import ComparedFacts
from factory.pack.packing import PackedRows


@dataclass(frozen=True, slots=True)
class ProducedSamples:
    """Accepted samples of an index range, and counts of the rejected ones."""

    rows: PackedRows
    rejected: Counter[tuple[str, int]]
    """Rejected samples by (reason, generator class)."""
    num_generator_classes: int
    """Number of classes of the generator; 0 for none."""
    generate_s: float
    """Seconds spent in the generator and the segmenter."""

    @property
    def num_rejected(self) -> dict[str, int]:
        """Rejected samples by reason."""
        by_reason: Counter[str] = Counter()
        for (reason, _), count in self.rejected.items():
            by_reason[reason] += count
        return dict(sorted(by_reason.items()))

    def cover(self) -> Coverage:
        """Coverage statistics of the accepted samples."""
        by_class: Counter[int] = Counter()
        for (_, label), count in self.rejected.items():
            by_class[label] += count
        facts = self.rows.facts
        covered = cover_samples(
            [row.class_label for row in facts],
            [row.class_px for row in facts],
            [row.width * row.height for row in facts],
            [row.confidence for row in facts],
            self.rows.measures,
            rejected=by_class,
            num_generator_classes=self.num_generator_classes,
        )
        compared = [row.agreement for row in facts if isinstance(row, ComparedFacts)]
        return merge_coverage([covered, cover_agreement(compared)]) if compared else covered
