"""Records as Parquet: the manifest's file, and snapshots of receipts."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.errors import StoreError
from factory.manifest import Manifest, ShardRecord

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
        ("ignore_px", pa.int64()),
        ("confidence", pa.list_(pa.float64())),
        ("wall_s", pa.float64()),
        ("generate_s", pa.float64()),
        ("device", pa.string()),
        ("worker", pa.string()),
        ("run_id", pa.string()),
        ("versions", pa.map_(pa.string(), pa.string())),
        ("finished_at", pa.string()),
    ]
)


def encode_manifest(manifest: Manifest) -> bytes:
    """Parquet with one row per shard; all else is JSON under the key `factory` of its metadata."""
    head = manifest.model_dump(mode="json", exclude={"records"})
    return _encode_table(manifest.records, {"factory": json.dumps(head, sort_keys=True)})


def read_manifest(data: bytes, *, source: str) -> Manifest:
    """Parse a manifest. `source` names it in errors.

    Raises:
        StoreError: If it is not a manifest of this version.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
        head = json.loads((table.schema.metadata or {})[b"factory"])
        return Manifest.model_validate(head | {"records": _rows_of(table)})
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"{source}: not a manifest ({type(error).__name__}); delete it and run the job again: it"
            " is rebuilt from the receipts"
        ) from error


def encode_snapshot(records: Sequence[ShardRecord]) -> bytes:
    """Receipts as Parquet, one row each in shard order: equal receipts give equal bytes."""
    return _encode_table(records, {})


def read_snapshot(data: bytes) -> list[ShardRecord]:
    """The receipts in a snapshot.

    Raises:
        ValueError: If it is not one of this version.
    """
    try:
        rows = _rows_of(pq.read_table(io.BytesIO(data)))
        return [ShardRecord.model_validate(row) for row in rows]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"not a snapshot ({type(error).__name__})") from error


def _encode_table(records: Sequence[ShardRecord], metadata: dict[str, str]) -> bytes:
    rows = [
        record.model_dump(mode="json")
        | {
            "num_rejected": sorted(record.num_rejected.items()),
            "versions": sorted(record.versions.items()),
        }
        for record in sorted(records, key=lambda record: record.shard_index)
    ]
    table = pa.Table.from_pylist(rows, schema=_RECORD_SCHEMA.with_metadata(metadata))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    return [
        row | {"num_rejected": dict(row["num_rejected"]), "versions": dict(row["versions"])}
        for row in table.to_pylist()
    ]
