"""Status of a dataset, computed from its plan, receipts and classes alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from factory.dataset.compared import find_compared
from factory.dataset.pace import find_workers, pairs_per_s
from factory.dataset.state import DatasetState
from factory.manifest.labels import MaskClass
from factory.manifest.makers import count_makers, name_makers
from factory.manifest.paths import SPLITS, TRAIN, split_of
from factory.manifest.records import ShardRecord
from factory.plan.targets import TargetProgress, judge_targets

Status = dict[str, Any]
"""Facts by name, JSON values: the answer of `factory status --json`."""


def make_status(
    state: DatasetState,
    labels: Sequence[MaskClass],
    num_quarantined: int = 0,
    progress: TargetProgress | None = None,
) -> Status:
    """Count planned, committed and rejected samples, samples by class, and progress of targets.

    `pairs_per_s` is 0 and `seconds_left` null unless a run commits shards now.
    """
    records = state.records
    rejected: Counter[str] = Counter()
    for record in records:
        rejected.update(record.num_rejected)
    num_shards = len(state.plan.tasks())
    done = state.done
    asked = sum(t.num_samples for t in state.plan.tasks() if t.shard_index in done)
    made = sum(record.num_samples for record in records)
    is_complete = len(records) == num_shards
    rate = 0.0 if is_complete else pairs_per_s(records)
    status: Status = {
        "dataset_id": state.plan.dataset_id,
        "state": "complete" if is_complete else "incomplete",
        "rounds": len(state.plan.rounds),
        "shards_planned": num_shards,
        "shards_committed": len(records),
        "shards_quarantined": num_quarantined,
        "samples_planned": state.plan.num_samples,
        "samples_committed": made,
        "samples_short": asked - made,
        "samples_rejected": dict(sorted(rejected.items())),
        "samples_by_class": _images_by_class(records, labels),
        "bytes": sum(record.size_bytes for record in records),
        "last_commit": max((record.finished_at for record in records), default="never"),
        "pairs_per_s": round(rate, 2),
        "seconds_left": round((state.plan.num_samples - asked) / rate, 1) if rate else None,
        "workers": [asdict(worker) for worker in find_workers(records)],
        "makers": name_makers(count_makers(records)),
    }
    if any(task.split != TRAIN for task in state.plan.tasks()):
        status |= _splits(records, labels)
    status |= _agreement(records)
    if progress is not None:
        status["targets"] = [asdict(target) for target in judge_targets(progress)]
        status["budget_left"] = max(0, progress.left)
    return status


def _images_by_class(records: Sequence[ShardRecord], labels: Sequence[MaskClass]) -> dict[str, int]:
    """Number of samples that contain each class, by its name."""
    return {
        label.name: sum(record.class_images[label.id] for record in records) for label in labels
    }


def _splits(records: Sequence[ShardRecord], labels: Sequence[MaskClass]) -> Status:
    """Samples of each split, and by class in each."""
    inside = {split: [r for r in records if split_of(r.path) == split] for split in SPLITS}
    counts = {split: sum(r.num_samples for r in those) for split, those in inside.items()}
    return {"samples_by_split": counts} | {
        f"samples_by_class_{split}": _images_by_class(those, labels)
        for split, those in inside.items()
    }


def _agreement(records: Sequence[ShardRecord]) -> Status:
    """Quantiles of agreement with other methods, and shares that filters keep; nothing without."""
    found = find_compared(records)
    if found is None:
        return {}
    return {
        "agreement": {f"{share:.0%}": at for share, at in found.quantiles.items()},
        "kept_by_min_agreement": {f"{least:g}": share for least, share in found.kept.items()},
    }
