"""Shard records (receipts), and the manifest that lists them in order. It does not know stores.

A receipt (one JSON file per shard) is the commit point and authoritative; the manifest is derived from
all receipts and can be rebuilt at any time.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    WrapSerializer,
    WrapValidator,
    model_validator,
)

from factory.data import IGNORE
from factory.errors import DamageError, count_problems
from factory.manifest.coverage import Coverage
from factory.manifest.labels import Count, DatasetLabels, Facts, Name
from factory.manifest.paths import SPLITS, TRAIN, split_of
from factory.manifest.totals import SUMMED, Totals
from factory.manifest.versions import read_file_of
from factory.spec.settings import Fraction

SmallCount = Annotated[Count, pa.int32()]
"""A position in a plan; its Parquet column is int32."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _check_time(value: str) -> str:
    datetime.fromisoformat(value)
    return value


class ShardRecord(Facts):
    """The receipt of one committed shard: the content of `receipts/RRRR/NNNNNN.json`."""

    schema_version: Annotated[int, pa.int32()] = 2
    """Version of this layout; version 1 had no `coverage`."""
    dataset_id: Name
    """The dataset the shard belongs to."""
    round_index: SmallCount
    """The round of the plan that it belongs to."""
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
    """Rejected samples by reason."""
    num_members: Count
    """Files in the tar."""
    size_bytes: Count
    """Size of the tar."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the tar."""
    class_images: list[Count] = Field(max_length=IGNORE)
    """Samples that contain each mask class, by class id."""
    class_px: list[Count] = Field(max_length=IGNORE)
    """Pixels of each mask class, by class id."""
    ignore_px: Count = 0
    """Pixels of no class (mask value 255)."""
    confidence: list[Fraction] = Field(min_length=5, max_length=5)
    """Quantiles 0, 0.05, 0.5, 0.95, 1 of the samples' mean mask confidence."""
    wall_s: Seconds
    """Seconds from the task's start to its commit."""
    generate_s: Seconds
    """Seconds of that in the generator and the segmenter."""
    device: Name
    """Device that computed it, e.g. the name of the GPU."""
    worker: Name
    """Host and process of the worker."""
    run_id: Name
    """The run that made it."""
    versions: dict[Name, Name] = Field(max_length=64)
    """Versions of the libraries that influence bytes; `encoder` is the digest of a fixed image as
    encoded there, `kernels` the code that computed sums."""
    finished_at: Annotated[Name, AfterValidator(_check_time)]
    """UTC time of the commit, ISO 8601."""
    coverage: Coverage | None = None
    """Coverage of its samples, mergeable over shards; null in receipts of version 1."""

    @model_validator(mode="after")
    def _adds_up(self) -> "ShardRecord":
        if len(self.class_images) != len(self.class_px):
            raise ValueError("class_images and class_px have one number for each class")
        return self


class RecordSequence(Sequence[ShardRecord]):
    """Receipts in shard order that are read as they are asked for, because they are too many to hold."""

    @property
    @abstractmethod
    def indices(self) -> set[int]:
        """Their shard indices."""

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Number of samples in their shards."""

    @property
    @abstractmethod
    def totals(self) -> Totals:
        """Sums over them."""


def total_of(records: Iterable[ShardRecord]) -> Totals:
    """Sums over receipts."""
    found, totals = list(records), Totals()
    columns = {name: [getattr(record, name) for record in found] for name in SUMMED}
    totals.add(columns, [r.coverage.agreement for r in found if r.coverage is not None])
    return totals


def _as_given(value: object, check: Callable[[object], Sequence[ShardRecord]]) -> object:
    return value if isinstance(value, RecordSequence) else list(check(value))


def _all_of(value: Sequence[ShardRecord], dump: Callable[[list[ShardRecord]], object]) -> object:
    return dump(list(value))


class Manifest(Facts):
    """The manifest: identity, label table and all receipts of a dataset, in shard order."""

    schema_version: int = 1
    """Version of this layout."""
    name: str
    """The dataset's name."""
    dataset_id: str
    """Its id: the first 16 hex digits of the digest of `identity`."""
    identity: dict[str, Any]
    """Identity: the job's `dataset` section with digests of weights and segmenter."""
    meaning: DatasetLabels
    """The label table."""
    num_planned: int
    """Number of planned samples."""
    single_writer: bool = False
    """Whether the output was written by one run at a time, because its store cannot create
    exclusively."""
    records: Annotated[Sequence[ShardRecord], WrapValidator(_as_given), WrapSerializer(_all_of)]
    """Receipts of the committed shards: a list, or of more than 5,000 shards a sequence that reads them
    from the dataset as they are asked for."""

    @property
    def totals(self) -> Totals:
        """Sums over the receipts."""
        if isinstance(self.records, RecordSequence):
            return self.records.totals
        return total_of(self.records)

    @property
    def num_samples(self) -> int:
        """Number of committed samples."""
        if isinstance(self.records, RecordSequence):
            return self.records.num_samples
        return sum(record.num_samples for record in self.records)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits: `train` alone unless it is divided."""
        shares = self.identity.get("splits") or {}
        there = {TRAIN, *self.totals.splits}
        return tuple(split for split in SPLITS if shares.get(split) or split in there)

    def records_of(self, split: str) -> list[ShardRecord]:
        """Receipts of the committed shards of a split."""
        return [record for record in self.records if split_of(record.path) == split]

    def __repr__(self) -> str:
        """One line: the records of a large dataset would fill a notebook."""
        return (
            f"<Manifest {self.name}: {self.num_samples:,} of {self.num_planned:,} samples in "
            f"{len(self.records):,} shards, dataset {self.dataset_id}>"
        )

    __str__ = __repr__


def encode_record(record: ShardRecord) -> bytes:
    """Encode a receipt: JSON with one line per field."""
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
            found=f"not a receipt ({count_problems(error.error_count())})",
            remedy="`factory repair` removes it; then run the job again: its shard is checked and the "
            "receipt written anew",
        ) from error
