"""What was made: the record of each shard, and the manifest that gathers them in order.

A receipt (one JSON file per shard) is the commit point and the truth; the manifest is a view of all
receipts that can be rebuilt at any time. It knows nothing of stores.
"""

import json
from typing import Any

from pydantic import ValidationError

from factory.errors import StoreError
from factory.manifest.coverage import Coverage
from factory.manifest.labels import DatasetLabels, Facts


class ShardRecord(Facts):
    """The facts about one committed shard, as kept in `receipts/RRRR/NNNNNN.json`."""

    schema_version: int = 2
    """Version of this layout; version 1 had no `coverage`."""
    dataset_id: str
    """The dataset the shard belongs to."""
    round_index: int
    """The plan round that asked for it."""
    shard_index: int
    """Its position in the dataset."""
    path: str
    """The tar, relative to the dataset's root."""
    first_index: int
    """First sample index of the range it owns."""
    num_indices: int
    """Length of that range."""
    num_samples: int
    """Samples in the tar."""
    num_rejected: dict[str, int]
    """Samples that were made and not kept, by reason."""
    num_members: int
    """Files in the tar."""
    size_bytes: int
    """Size of the tar."""
    sha256: str
    """SHA-256 of the tar."""
    class_images: list[int]
    """Samples that hold each class, by class id."""
    class_px: list[int]
    """Pixels of each class, by class id."""
    ignore_px: int = 0
    """Pixels of no class (mask value 255)."""
    confidence: list[float]
    """Quantiles 0, 0.05, 0.5, 0.95, 1 of the samples' mean mask confidence."""
    wall_s: float
    """Seconds from the task's start to its commit."""
    generate_s: float
    """Seconds of that spent in the generator and the segmenter."""
    device: str
    """What computed it."""
    worker: str
    """Host and process that made it."""
    run_id: str
    """The run that made it."""
    versions: dict[str, str]
    """Versions of the libraries that decide bytes."""
    finished_at: str
    """UTC time of the commit, ISO 8601."""
    coverage: Coverage | None = None
    """What its samples cover, in counts that add up over shards; null if nobody counted."""


class Manifest(Facts):
    """Everything that is known about a dataset, records in shard order."""

    schema_version: int = 1
    """Version of this layout."""
    name: str
    """The dataset's name."""
    dataset_id: str
    """Digest of its identity."""
    identity: dict[str, Any]
    """What the dataset is: the job's `dataset` section with digests of weights and segmenter."""
    meaning: DatasetLabels
    """What the samples' numbers mean."""
    num_planned: int
    """Samples asked for."""
    single_writer: bool = False
    """The output's store does not create exclusively: one run at a time wrote to it."""
    records: list[ShardRecord]
    """Committed shards."""

    @property
    def num_samples(self) -> int:
        """Samples committed."""
        return sum(record.num_samples for record in self.records)


def encode_record(record: ShardRecord) -> bytes:
    """A receipt's bytes: JSON with one line for each fact."""
    facts = record.model_dump(mode="json").items()
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in facts]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read_record(data: bytes, *, source: str) -> ShardRecord:
    """Parse a receipt. `source` names it in errors.

    Raises:
        StoreError: If it is not a receipt of this version.
    """
    try:
        return ShardRecord.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{source}: not a receipt ({error.error_count()} problems); delete it and run the job "
            "again: its shard is checked and the receipt written anew"
        ) from error
