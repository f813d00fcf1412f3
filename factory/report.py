"""Numbers about a dataset, from its plan, receipts and classes alone."""

from collections import Counter
from collections.abc import Sequence

from factory.dataset import Holdings
from factory.manifest import ClassLabel


def make_status(
    holdings: Holdings, labels: Sequence[ClassLabel]
) -> dict[str, int | str | dict[str, int]]:
    """What is planned, made and rejected, and the samples that hold each class, as plain values."""
    records = holdings.records
    rejected: Counter[str] = Counter()
    for record in records:
        rejected.update(record.num_rejected)
    num_shards = len(holdings.plan.tasks())
    done = holdings.done
    asked = sum(t.num_samples for t in holdings.plan.tasks() if t.shard_index in done)
    made = sum(record.num_samples for record in records)
    return {
        "dataset_id": holdings.plan.dataset_id,
        "state": "complete" if len(records) == num_shards else "incomplete",
        "rounds": len(holdings.plan.rounds),
        "shards_planned": num_shards,
        "shards_committed": len(records),
        "samples_planned": holdings.plan.num_samples,
        "samples_committed": made,
        "samples_short": asked - made,
        "samples_rejected": dict(sorted(rejected.items())),
        "samples_by_class": {
            label.name: sum(record.class_images[label.id] for record in records) for label in labels
        },
        "bytes": sum(record.size_bytes for record in records),
        "last_commit": max((record.finished_at for record in records), default="never"),
    }
