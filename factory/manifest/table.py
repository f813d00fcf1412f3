"""Records as Parquet: the manifest's file, and snapshots of receipts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from factory.errors import DamageError
from factory.manifest.parquet import encode_table, read_table
from factory.manifest.records import Manifest, ShardRecord


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
        table = read_table(data)
        head = json.loads((table.schema.metadata or {})[b"factory"])
        return Manifest.model_validate(head | {"records": _rows_of(table)})
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DamageError(
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
        rows = _rows_of(read_table(data))
        return [ShardRecord.model_validate(row) for row in rows]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"not a snapshot ({type(error).__name__})") from error


def _encode_table(records: Sequence[ShardRecord], metadata: dict[str, str]) -> bytes:
    in_order = sorted(records, key=lambda record: record.shard_index)
    return _encode_rows([record.model_dump(mode="json") for record in in_order], metadata)


_SCHEMA = pa.schema(
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
        ("coverage", pa.string()),  # JSON, "" for none: its keys differ from shard to shard
    ]
)


def _encode_rows(rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """Parquet of records given as plain JSON values, in their order."""
    lines = [
        {
            **row,
            "num_rejected": sorted(row["num_rejected"].items()),
            "versions": sorted(row["versions"].items()),
            "coverage": json.dumps(row["coverage"]) if row["coverage"] else "",
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(lines, schema=_SCHEMA.with_metadata(dict(metadata)))
    return encode_table(table)


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The records of such a table; older ones have no coverage.

    Raises:
        KeyError: If a column is missing.
    """
    return [
        {
            **row,
            "num_rejected": dict(row["num_rejected"]),
            "versions": dict(row["versions"]),
            "coverage": json.loads(row.get("coverage") or "null"),
        }
        for row in table.to_pylist()
    ]
