"""Records as a Parquet table: one row for each, one column for each of their facts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from factory.parquet import encode_table

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


def encode_rows(rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
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


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
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
