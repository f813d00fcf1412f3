"""Read the facts of all samples as one Arrow table: the concatenated sidecar tables of a dataset."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from factory.errors import DamageError, JobError, Problem
from factory.manifest.parquet import read_table
from factory.manifest.paths import SIDECARS, sidecar_of
from factory.manifest.records import ShardRecord
from factory.pack.facts import SIDECAR_SCHEMA, find_odd_column
from factory.store import Store

_THREADS = 8
_MOST_SHOWN = 160


def read_facts_tables(
    store: Store,
    records: Sequence[ShardRecord],
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Read the tables of some shards: `columns` (None = all) of the rows that match `where`.

    Raises:
        JobError: If a table has no such column, or the condition cannot be computed.
        DamageError: If a table is missing, or has another number of rows than its shard has samples.
    """

    def read(record: ShardRecord) -> pa.Table:
        table = _read_one(store, record, columns if where is None else None)
        if where is None:
            return table
        try:  # the condition may use columns that are not selected
            return table.filter(where).select(columns or table.schema.names)
        except KeyError as error:
            raise _no_column(error, table) from error
        except (pa.ArrowException, TypeError) as error:
            found = " ".join(str(error).split())[:_MOST_SHOWN]
            allowed = f"a condition on columns: {', '.join(table.schema.names)}"
            raise JobError(where="where", found=found, allowed=allowed) from error

    with ThreadPoolExecutor(_THREADS) as threads:
        tables = list(threads.map(read, records))
    try:  # tables of version 1 have fewer columns
        return pa.concat_tables(tables or [SIDECAR_SCHEMA.empty_table()], promote_options="default")
    except pa.ArrowException as error:
        raise _damage(store, SIDECARS, f"tables that do not fit each other ({error})") from error


def _read_one(store: Store, record: ShardRecord, columns: Sequence[str] | None) -> pa.Table:
    path = sidecar_of(record.path)
    data = store.read(path)
    try:
        if data is None:
            raise ValueError("missing")
        table = read_table(data, columns, most_rows=record.num_samples)
    except KeyError as error:
        raise _no_column(error, read_table(data or b"")) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        found = f"not the table of its shard's samples ({error})"
        raise _damage(store, path, found) from error
    if (odd := find_odd_column(table.schema)) is not None:
        raise _damage(store, path, f"not the table of its shard's samples (column {odd!r})")
    if table.num_rows != record.num_samples:
        found = f"{table.num_rows} rows, its shard has {record.num_samples} samples"
        raise _damage(store, path, found)
    return table


def _damage(store: Store, path: str, found: str) -> DamageError:
    remedy = f"`factory repair {store.uri}` rebuilds it"
    problem = Problem(path, "table", found)
    where = f"{store.uri}/{path}"
    return DamageError(where=where, found=found, remedy=remedy, problems=(problem,))


def _no_column(error: KeyError, table: pa.Table) -> JobError:
    found, names = f"found {error.args[0]}", ", ".join(table.schema.names)
    return JobError(where="columns", found=found, allowed=f"the facts have {names}")
