"""What the pipeline made of a task's range, and what it covers."""

from collections import Counter
from dataclasses import dataclass

from factory.manifest.coverage import Coverage, cover_samples
from factory.pack.packing import PackedRows


@dataclass(frozen=True, slots=True)
class Produced:
    """The samples of a range that were kept, and a count of the others."""

    rows: PackedRows
    rejected: Counter[tuple[str, int]]
    """Samples that were not kept, by reason and generator class."""
    num_generator_classes: int
    """Classes that the generator has; 0 for none."""
    generate_s: float
    """Seconds in the generator and the segmenter."""

    @property
    def num_rejected(self) -> dict[str, int]:
        """Samples that were not kept, by reason."""
        by_reason: Counter[str] = Counter()
        for (reason, _), count in self.rejected.items():
            by_reason[reason] += count
        return dict(sorted(by_reason.items()))

    def cover(self) -> Coverage:
        """What the kept samples cover."""
        by_class: Counter[int] = Counter()
        for (_, label), count in self.rejected.items():
            by_class[label] += count
        facts = self.rows.facts
        return cover_samples(
            [row.class_label for row in facts],
            [row.class_px for row in facts],
            [row.width * row.height for row in facts],
            [row.confidence for row in facts],
            self.rows.measures,
            rejected=by_class,
            num_generator_classes=self.num_generator_classes,
        )
