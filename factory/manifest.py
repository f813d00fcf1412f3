"""What was made: the record of each shard, and the manifest that gathers them in order.

A receipt (one JSON file per shard) is the commit point and the truth; the manifest is a view of all
receipts that can be rebuilt at any time. It knows nothing of stores.
"""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from factory.coverage import Coverage
from factory.errors import StoreError


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClassLabel(_Facts):
    """One class of the masks."""

    id: int
    """Its value in the masks."""
    name: str
    """Its name."""
    colour: tuple[int, int, int]
    """RGB, 0 to 255, for pictures only: masks hold ids, never colours."""


class DatasetLabels(_Facts):
    """What the samples' numbers mean, as kept in `labels.json`."""

    schema_version: int = 1
    """Version of this layout."""
    labels: list[ClassLabel]
    """Classes of the masks."""
    generator_classes: list[str]
    """Names of the generator's classes, by `class_label`; empty if it has none."""
    attribution: str
    """Line that must go with the images, from the generator's weights; empty if none."""
    license: str
    """Licence of the weights as they state it; empty if unknown."""


class ShardRecord(_Facts):
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


class Manifest(_Facts):
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
    records: list[ShardRecord]
    """Committed shards."""

    @property
    def num_samples(self) -> int:
        """Samples committed."""
        return sum(record.num_samples for record in self.records)


def receipt_path(round_index: int, shard_index: int) -> str:
    """Where the receipt of a shard lies."""
    return f"receipts/{round_index:04d}/{shard_index:06d}.json"


def encode_labels(labels: DatasetLabels) -> bytes:
    """The bytes of `labels.json`."""
    return (labels.model_dump_json(indent=1) + "\n").encode()


def read_labels(data: bytes, *, source: str) -> DatasetLabels:
    """Parse `labels.json`. `source` names it in errors.

    Raises:
        StoreError: If it is not one of this version.
    """
    try:
        return DatasetLabels.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{source}: not a label table ({error.error_count()} problems); delete it and run the "
            "job again: it is written anew"
        ) from error


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


LABELS_PATH = "labels.json"
MANIFEST_PATH = "manifest.parquet"

_RECORD_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("dataset_id", pa.string()),
        ("round_index", pa.int32()),
        ("shard_index", pa.int32()),
        ("path", pa.string()),
        ("first_index", pa.int64()),
        ("num_indices", pa.int64()),
        ("num_samples", pa.int64()),
        ("num_rejected", pa.map_(pa.string(), pa.int64())),
        ("num_members", pa.int64()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("class_images", pa.list_(pa.int64())),
        ("class_px", pa.list_(pa.int64())),
        ("confidence", pa.list_(pa.float64())),
        ("wall_s", pa.float64()),
        ("generate_s", pa.float64()),
        ("device", pa.string()),
        ("worker", pa.string()),
        ("run_id", pa.string()),
        ("versions", pa.map_(pa.string(), pa.string())),
        ("finished_at", pa.string()),
        ("coverage", pa.string()),  # JSON, "" for none: its keys differ from shard to shard
    ]
)


def encode_manifest(manifest: Manifest) -> bytes:
    """Parquet with one row per shard; all else is JSON under the key `factory` of its metadata."""
    head = manifest.model_dump(mode="json", exclude={"records"})
    schema = _RECORD_SCHEMA.with_metadata({"factory": json.dumps(head, sort_keys=True)})
    rows = [
        record.model_dump(mode="json")
        | {
            "num_rejected": sorted(record.num_rejected.items()),
            "versions": sorted(record.versions.items()),
            "coverage": record.coverage.model_dump_json() if record.coverage else "",
        }
        for record in sorted(manifest.records, key=lambda record: record.shard_index)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_manifest(data: bytes, *, source: str) -> Manifest:
    """Parse a manifest. `source` names it in errors.

    Raises:
        StoreError: If it is not a manifest of this version.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
        head = json.loads((table.schema.metadata or {})[b"factory"])
        rows = [
            row
            | {
                "num_rejected": dict(row["num_rejected"]),
                "versions": dict(row["versions"]),
                "coverage": json.loads(row.get("coverage") or "null"),
            }
            for row in table.to_pylist()
        ]
        return Manifest.model_validate(head | {"records": rows})
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"{source}: not a manifest ({type(error).__name__}); delete it and run the job again: it"
            " is rebuilt from the receipts"
        ) from error
