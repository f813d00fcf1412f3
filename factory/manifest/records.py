"""What was made: the record of each shard, and the manifest that gathers them in order.

A receipt (one JSON file per shard) is the commit point and the truth; the manifest is a view of all
receipts that can be rebuilt at any time. It knows nothing of stores.
"""

import json
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, Field, ValidationError, model_validator

from factory.data import IGNORE
from factory.errors import DamageError
from factory.manifest.coverage import Coverage
from factory.manifest.labels import Count, DatasetLabels, Facts, Name
from factory.manifest.versions import read_file_of
from factory.spec.settings import Fraction

SmallCount = Annotated[Count, pa.int32()]
"""A position in a plan: its column is narrower than that of other numbers."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _check_time(value: str) -> str:
    datetime.fromisoformat(value)
    return value


class ShardRecord(Facts):
    """The facts about one committed shard, as kept in `receipts/RRRR/NNNNNN.json`."""

    schema_version: Annotated[int, pa.int32()] = 2
    """Version of this layout; version 1 had no `coverage`."""
    dataset_id: Name
    """The dataset the shard belongs to."""
    round_index: SmallCount
    """The plan round that asked for it."""
    shard_index: SmallCount
    """Its position in the dataset."""
    path: Name
    """The tar, relative to the dataset's root."""
    first_index: Count
    """First sample index of the range it owns."""
    num_indices: Count
    """Length of that range."""
    num_samples: Count
    """Samples in the tar."""
    num_rejected: dict[Name, Count] = Field(max_length=2**12)
    """Samples that were made and not kept, by reason."""
    num_members: Count
    """Files in the tar."""
    size_bytes: Count
    """Size of the tar."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the tar."""
    class_images: list[Count] = Field(max_length=IGNORE)
    """Samples that hold each class, by class id."""
    class_px: list[Count] = Field(max_length=IGNORE)
    """Pixels of each class, by class id."""
    ignore_px: Count = 0
    """Pixels of no class (mask value 255)."""
    confidence: list[Fraction] = Field(min_length=5, max_length=5)
    """Quantiles 0, 0.05, 0.5, 0.95, 1 of the samples' mean mask confidence."""
    wall_s: Seconds
    """Seconds from the task's start to its commit."""
    generate_s: Seconds
    """Seconds of that spent in the generator and the segmenter."""
    device: Name
    """What computed it."""
    worker: Name
    """Host and process that made it."""
    run_id: Name
    """The run that made it."""
    versions: dict[Name, Name] = Field(max_length=64)
    """Versions of the libraries that decide bytes; `encoder` is a digest of a fixed picture as it is
    encoded there, `kernels` the code that computed sums."""
    finished_at: Annotated[Name, AfterValidator(_check_time)]
    """UTC time of the commit, ISO 8601."""
    coverage: Coverage | None = None
    """What its samples cover, in counts that add up over shards; null if nobody counted."""

    @model_validator(mode="after")
    def _adds_up(self) -> "ShardRecord":
        if len(self.class_images) != len(self.class_px):
            raise ValueError("class_images and class_px both have one number for each class")
        return self


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

    def __repr__(self) -> str:
        """One line: the records of a large dataset would fill a notebook."""
        return (
            f"<Manifest {self.name}: {self.num_samples:,} of {self.num_planned:,} samples in "
            f"{len(self.records):,} shards, dataset {self.dataset_id}>"
        )

    __str__ = __repr__


def encode_record(record: ShardRecord) -> bytes:
    """A receipt's bytes: JSON with one line for each fact."""
    facts = record.model_dump(mode="json").items()
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in facts]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read_record(data: bytes, *, source: str) -> ShardRecord:
    """Parse a receipt. `source` names it in errors.

    Raises:
        DamageError: If it is not a receipt.
        StoreError: If a newer version wrote it.
    """
    try:
        return read_file_of(ShardRecord, data, source=source)
    except ValidationError as error:
        raise DamageError(
            where=source,
            found=f"not a receipt ({error.error_count()} problems)",
            remedy="`factory repair` removes it; then run the job again: its shard is checked and the "
            "receipt written anew",
        ) from error
