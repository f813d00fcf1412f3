"""Encode and decode Parquet tables, with limits on what is decoded."""

import io
import mmap
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from factory.manifest.parquet_pages import (
    TAIL_BYTES,
    Chunk,
    Table,
    check_footer,
    check_pages,
    chunks_of,
    places_of,
    text_columns,
    unfolded_bytes,
)

COMPRESSION = "zstd"
"""Of all tables."""


def encode_table(table: pa.Table) -> bytes:
    """Encode `table` as a Parquet file; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=COMPRESSION)
    return sink.getvalue()


_ROWS_AT_ONCE, _MOST_ROWS = 4096, 10**6
_MOST_BYTES = 2**30
"""Limit of a table in memory: with dictionary encoding, a few bytes can decode to gigabytes."""

_MOST_AT_LEAST, _MOST_OF_A_ROW = 2**26, 2**18
"""What a table may unfold into by its own account, before it is read: the first, and for each row."""


def read_table(
    data: Table, columns: Sequence[str] | None = None, *, most_rows: int = _MOST_ROWS
) -> pa.Table:
    """Decode the table in `data`, or just its `columns`; at most `most_rows` rows.

    It is read on the calling thread alone. Arrow's own threads would keep the last reference to the
    Python object they read from, and a process that ends just then is aborted ("terminate called
    without an active exception"): 1 in 20 of those that read and exit at once.

    Raises:
        pyarrow.ArrowException: If it is not a Parquet file.
        OSError: If it is damaged.
        KeyError: If a column is missing.
        ValueError: If it has more rows, or more bytes in memory, than the limits allow, or pages of a
            kind that we do not write.
    """
    file = _opened(data)
    leaves = None if columns is None else _leaves_of(file, columns)  # the others are not decoded
    return _read(data, file, chunks_of(data, leaves), columns, most_rows)


def _read(
    data: Table,
    file: pq.ParquetFile,
    chunks: list[Chunk],
    columns: Sequence[str] | None,
    most_rows: int = _MOST_ROWS,
) -> pa.Table:
    names = file.schema_arrow.names
    missing = set(columns or ()) - set(names)
    if missing:
        raise KeyError(*sorted(missing))
    if file.metadata.num_rows > most_rows:
        raise ValueError(f"{file.metadata.num_rows:,} rows; at most {most_rows:,} are expected")
    claimed = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    most_bytes = min(_MOST_AT_LEAST + file.metadata.num_rows * _MOST_OF_A_ROW, _MOST_BYTES)
    if claimed > most_bytes:
        raise ValueError(
            f"{claimed:,} bytes in {file.metadata.num_rows:,} rows: more than a table of ours"
        )
    check_pages(data, chunks, num_rows=file.metadata.num_rows, most_bytes=most_bytes)
    texts = text_columns(file.schema)
    if columns is not None:
        texts = [path for path in texts if path.partition(".")[0] in columns]
    _check_texts(data, texts)
    batches = []
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
        batch.validate(full=True)  # texts that are none, say, which only a later use would find
        batches.append(batch)
    schema = file.schema_arrow
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
    return pa.Table.from_batches(batches, schema)


def read_columns(
    read_part: Callable[[int, int], bytes], size_bytes: int, columns: Sequence[str]
) -> pa.Table:
    """Decode just the `columns` of a table that lies elsewhere, and read nothing else of it.

    Args:
        read_part: Returns the bytes at an offset, less where the table ends.
        size_bytes: Its size.
        columns: Names of the columns.

    Raises:
        As `read_table`; also ValueError: If the table has another size.
    """
    # As long as the table, but what is not written takes no memory.
    data = mmap.mmap(-1, max(size_bytes, 1))

    def fill(first: int, end: int) -> None:
        part = read_part(first, end - first)
        if len(part) != end - first:
            raise ValueError(f"{len(part):,} bytes at {first:,}; there should be {end - first:,}")
        data[first:end] = part

    tail = max(0, size_bytes - TAIL_BYTES)
    fill(tail, size_bytes)
    footer = max(0, size_bytes - check_footer(data))
    if footer < tail:
        fill(footer, tail)
    file = _opened(data)
    chunks = chunks_of(data, _leaves_of(file, columns))
    for place in places_of(data, chunks):
        fill(*place)
    return _read(data, file, chunks, columns)


def _leaves_of(file: pq.ParquetFile, columns: Sequence[str]) -> set[int]:
    """Numbers of the columns in the file that make up `columns`: a map, say, has one for its keys."""
    paths = (file.schema.column(number).path for number in range(len(file.schema)))
    return {number for number, path in enumerate(paths) if path.partition(".")[0] in columns}


def _opened(data: Table, as_dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    check_footer(data)
    reader = pa.BufferReader(data)
    return pq.ParquetFile(reader, pre_buffer=False, read_dictionary=list(as_dictionary))


def _check_texts(data: Table, paths: Sequence[str]) -> None:
    """Count the bytes of all texts, which stay in their dictionaries while they are counted.

    Raises:
        ValueError: If there are more than a table of ours has: a long text that is stored once can be
            the value of every row.
    """
    if not paths:
        return
    size_bytes = 0
    file = _opened(data, paths)
    # Row groups one by one: each has a dictionary of its own, and Arrow does not join those in lists.
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(_ROWS_AT_ONCE, [group], list(paths), use_threads=False):
            size_bytes += sum(unfolded_bytes(column) for column in batch.columns)
            if size_bytes > _MOST_BYTES:
                raise ValueError(
                    f"more than {_MOST_BYTES:,} bytes: more than a dataset's table has"
                )
