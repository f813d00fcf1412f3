"""The record of a shard that has just been made: everything that was counted on the way."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from factory.coverage import cover_samples
from factory.data import ShardTask
from factory.manifest import ShardRecord
from factory.pack.packing import PackedRows
from factory.pack.tar import PackedShard
from factory.provenance import find_versions, worker_name


@dataclass(frozen=True, slots=True)
class Produced:
    """What the pipeline made of a task's range."""

    rows: PackedRows
    rejected: Counter[tuple[str, int]]
    """Samples that were not kept, by reason and generator class."""
    num_generator_classes: int
    """Classes that the generator has; 0 for none."""
    generate_s: float
    """Seconds in the generator and the segmenter."""


def make_record(
    task: ShardTask,
    produced: Produced,
    packed: PackedShard,
    *,
    wall_s: float,
    device: str,
    run_id: str,
) -> ShardRecord:
    """The record of the shard that `task` asked for, finished now."""
    facts = produced.rows.facts
    px = np.array([row.class_px for row in facts], dtype=np.int64)
    confidence = [row.confidence for row in facts]
    by_reason: Counter[str] = Counter()
    by_class: Counter[int] = Counter()
    for (reason, label), count in produced.rejected.items():
        by_reason[reason] += count
        by_class[label] += count
    return ShardRecord(
        dataset_id=task.dataset_id,
        round_index=task.round_index,
        shard_index=task.shard_index,
        path=f"data/train/{task.name}.tar",
        first_index=task.first_index,
        num_indices=task.num_indices,
        num_samples=len(facts),
        num_rejected=dict(sorted(by_reason.items())),
        num_members=packed.num_members,
        size_bytes=packed.size_bytes,
        sha256=packed.sha256,
        class_images=(px > 0).sum(axis=0).tolist(),
        class_px=px.sum(axis=0).tolist(),
        confidence=[round(float(q), 6) for q in np.quantile(confidence, [0, 0.05, 0.5, 0.95, 1])],
        wall_s=round(wall_s, 3),
        generate_s=round(produced.generate_s, 3),
        device=device,
        worker=worker_name(),
        run_id=run_id,
        versions=find_versions(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        coverage=cover_samples(
            [row.class_label for row in facts],
            [row.class_px for row in facts],
            [row.width * row.height for row in facts],
            confidence,
            produced.rows.measures,
            rejected=by_class,
            num_generator_classes=produced.num_generator_classes,
        ),
    )
