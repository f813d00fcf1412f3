"""Encode and decode the manifest and snapshots of receipts as Parquet."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.errors import DamageError
from factory.manifest.columns import facts_of, row_of, schema_of
from factory.manifest.parquet import COMPRESSION, encode_table, read_table
from factory.manifest.records import Manifest, ShardRecord
from factory.store.base import BinaryFile

RECORD_SCHEMA = schema_of(ShardRecord)
"""The columns of manifests and snapshots."""


class ManifestWriter:
    """Writes the rows of a manifest; see `writing_manifest`."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        """Write to `writer`."""
        self._writer = writer
        self.num_rows = 0
        """Rows so far."""

    def add(self, table: pa.Table) -> None:
        """Write the rows of `table` as one row group."""
        schema = self._writer.schema
        self._writer.write_table(table.cast(schema), row_group_size=max(1, table.num_rows))
        self.num_rows += table.num_rows


@contextmanager
def writing_manifest(manifest: Manifest, sink: BinaryFile) -> Iterator[ManifestWriter]:
    """Context manager that writes a manifest as Parquet, of which one row group is in memory at a time.

    There is one row per shard; everything but the receipts is JSON in the metadata key `factory`. The
    caller adds the receipts, in shard order; `manifest.records` are not looked at.
    """
    head = manifest.model_dump(mode="json", exclude={"records"})
    schema = RECORD_SCHEMA.with_metadata({"factory": json.dumps(head, sort_keys=True)})
    with pq.ParquetWriter(sink, schema, compression=COMPRESSION) as writer:
        rows = ManifestWriter(writer)
        yield rows
        if not rows.num_rows:  # a table without a row group has no columns for some readers
            rows.add(RECORD_SCHEMA.empty_table())


def read_manifest(data: bytes, *, source: str) -> Manifest:
    """Parse a manifest. `source` names it in errors.

    Raises:
        DamageError: If it is not a manifest of this version.
    """
    try:
        table = read_table(data)
        head = json.loads((table.schema.metadata or {})[b"factory"])
        return Manifest.model_validate(head | {"records": _rows_of(table)})
    except (pa.ArrowException, OSError, KeyError, ValueError, RecursionError) as error:
        raise DamageError(
            f"{source}: not a manifest; delete it and run the job again: it is rebuilt from the receipts"
        ) from error


def encode_snapshot(records: Sequence[ShardRecord]) -> bytes:
    """Encode receipts as Parquet, one row each in shard order; equal receipts give equal bytes."""
    return encode_table(table_of(records).replace_schema_metadata({}))


def read_snapshot(data: bytes) -> list[ShardRecord]:
    """Decode the receipts in a snapshot.

    Raises:
        ValueError: If it is not one of this version.
    """
    try:
        return records_of(read_table(data))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError("not a snapshot") from error


def table_of(records: Sequence[ShardRecord]) -> pa.Table:
    """Receipts as rows, in shard order."""
    in_order = sorted(records, key=lambda record: record.shard_index)
    return pa.Table.from_pylist([row_of(r) for r in in_order], schema=RECORD_SCHEMA)


def records_of(table: pa.Table) -> list[ShardRecord]:
    """The receipts in the rows of a table.

    Raises:
        KeyError: If a column is missing.
        ValueError: If a row is no receipt.
    """
    return [ShardRecord.model_validate(row) for row in _rows_of(table)]


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The receipts of a table as plain values, without validation.

    Raises:
        KeyError: If a column is missing.
    """
    return [facts_of(row, ShardRecord) for row in table.to_pylist()]
