"""Encode and decode the manifest and snapshots of receipts as Parquet."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from factory.errors import DamageError
from factory.manifest.columns import facts_of, row_of, schema_of
from factory.manifest.parquet import encode_table, read_table
from factory.manifest.records import Manifest, ShardRecord


def encode_manifest(manifest: Manifest) -> bytes:
    """Encode as Parquet: one row per shard; everything else as JSON in the metadata key `factory`."""
    head = manifest.model_dump(mode="json", exclude={"records"})
    return _encode_table(manifest.records, {"factory": json.dumps(head, sort_keys=True)})


def read_manifest(data: bytes, *, source: str) -> Manifest:
    """Parse a manifest. `source` names it in errors.

    Raises:
        DamageError: If it is not a manifest of this version.
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
    """Encode receipts as Parquet, one row each in shard order; equal receipts give equal bytes."""
    return _encode_table(records, {})


def read_snapshot(data: bytes) -> list[ShardRecord]:
    """Decode the receipts in a snapshot.

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
    schema = schema_of(ShardRecord).with_metadata(metadata)
    return encode_table(pa.Table.from_pylist([row_of(r) for r in in_order], schema=schema))


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The receipts of a table as plain values, without validation.

    Raises:
        KeyError: If a column is missing.
    """
    return [facts_of(row, ShardRecord) for row in table.to_pylist()]
