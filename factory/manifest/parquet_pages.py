"""Bound what a Parquet file unfolds into by the headers of its pages, before a page is decoded.

The footer states sizes and counts that nobody has to keep: a page is unpacked into the room that its own
header asks for, and as many values are made as its header says. So every page's header is read here. A
dictionary is a bomb of another kind: an entry that is stored once can be the value of every row.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.manifest.thrift import ThriftReader

_NEAR_BYTES = 2**18
"""Between two columns that are read at once: asking a store twice takes longer than these bytes."""

Table = bytes | mmap
"""A table as it lies in a file, or those parts of it that were read."""

Chunk = dict[int, Any]
"""A column of a row group, as the footer describes it."""

_MOST_OF_A_PAGE = 2**26
_MOST_VALUES_AT_LEAST, _MOST_VALUES_OF_A_ROW, _MOST_VALUES = 2**24, 2**6, 2**26
"""Values of all columns together, those of lists included: the first, and for each row; never more than
the last."""

_END, _MOST_OF_A_FOOTER = 8, 2**24
TAIL_BYTES = 2**16
"""The end of a table that is read first: a snapshot's footer takes a third of it."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADER_OF = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
"""Kind of a page to the field that has the number of its values."""
_ENCODING_PLACE = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}
_ENCODINGS = {0, 2, 3, 8}
"""PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY. Others, such as texts that share their beginnings, can
make gigabytes of a small page."""
_TYPES = {"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY"}
_TEXT = "BYTE_ARRAY"

_ROW_GROUPS, _COLUMNS, _FACTS = 4, 1, 3
_NUM_VALUES, _COMPRESSED_BYTES, _DATA_PLACE, _DICTIONARY_PLACE = 5, 7, 9, 11
"""Numbers of fields of a footer, a row group, a column and its facts."""


@dataclass(frozen=True, slots=True)
class _Page:
    uncompressed_bytes: int
    num_values: int


def check_footer(data: Table) -> int:
    """Check the length of a table's footer: a long one becomes a multiple of itself in memory.

    Returns:
        The bytes that it takes, with what follows it.

    Raises:
        ValueError: If it is longer than one of ours.
    """
    length = _length_of_footer(data)
    if _MOST_OF_A_FOOTER < length < len(data):
        raise ValueError(f"a footer of {length:,} bytes; at most {_MOST_OF_A_FOOTER:,} are read")
    return length + _END


def chunks_of(data: Table, leaves: Collection[int] | None = None) -> list[Chunk]:
    """What the footer says of each column in each row group, or of those with these numbers.

    Raises:
        ValueError: If the footer is damaged.
    """
    end = len(data) - _END
    footer = ThriftReader(data, max(0, end - _length_of_footer(data)), end).read_struct()
    chunks = []
    for group in _structs(footer, _ROW_GROUPS):
        for number, column in enumerate(_structs(group, _COLUMNS)):
            if leaves is not None and number not in leaves:
                continue
            facts = column.get(_FACTS)
            if not isinstance(facts, dict):
                raise ValueError("a column without facts")
            chunks.append(facts)
    return chunks


def places_of(data: Table, chunks: Iterable[Chunk]) -> list[tuple[int, int]]:
    """First byte and end of `chunks`, in order; near ones are one place.

    Raises:
        ValueError: If one of them lies nowhere in the table.
    """
    places: list[tuple[int, int]] = []
    for first, end in sorted(_place_of(data, chunk) for chunk in chunks):
        if places and first <= places[-1][1] + _NEAR_BYTES:
            begun, last_end = places.pop()
            places.append((begun, max(end, last_end)))
        else:
            places.append((first, end))
    return places


def check_pages(data: Table, chunks: Iterable[Chunk], *, num_rows: int, most_bytes: int) -> None:
    """Check the header of every page of `chunks`, of a table whose footer claims `num_rows`.

    Raises:
        ValueError: If a page is damaged or of a kind that we do not write, or all of them have more
            than `most_bytes` or more values than a table of ours.
    """
    most_values = min(_MOST_VALUES_AT_LEAST + num_rows * _MOST_VALUES_OF_A_ROW, _MOST_VALUES)
    num_bytes = num_values = 0
    for chunk in chunks:
        for page in _pages_of(data, chunk):
            num_bytes += page.uncompressed_bytes
            num_values += page.num_values
            if num_bytes > most_bytes:
                raise ValueError(
                    f"pages of more than {most_bytes:,} bytes in {num_rows:,} rows: more than a table "
                    "of ours"
                )
            if num_values > most_values:
                raise ValueError(
                    f"more than {most_values:,} values in {num_rows:,} rows: more than a table of ours"
                )


def text_columns(schema: pq.ParquetSchema) -> list[str]:
    """The paths of the columns that hold texts, those inside lists and maps included.

    Raises:
        ValueError: If a column is of a type that no table of ours has.
    """
    columns = [schema.column(place) for place in range(len(schema))]
    for column in columns:
        if column.physical_type not in _TYPES:
            raise ValueError(f"a column of {column.physical_type}, which no table of ours has")
    return [column.path for column in columns if column.physical_type == _TEXT]


def unfolded_bytes(array: pa.Array) -> int:
    """What an array takes once the dictionaries in it are written out; they are not written out here."""
    if pa.types.is_dictionary(array.type):
        import pyarrow.compute as pc

        lengths = pc.binary_length(array.dictionary)
        return (pc.sum(pc.take(lengths, array.indices)).as_py() or 0) + 4 * len(array)
    if pa.types.is_map(array.type):
        return unfolded_bytes(array.keys) + unfolded_bytes(array.items) + 4 * len(array)
    if pa.types.is_nested(array.type):
        parts = array.flatten()
        inner = parts if isinstance(parts, list) else [parts]
        return sum(unfolded_bytes(part) for part in inner) + 4 * len(array)
    return int(array.nbytes)


def _length_of_footer(data: Table) -> int:
    return int.from_bytes(data[-_END:-4], "little") if len(data) >= _END else 0


def _structs(fields: dict[int, Any], number: int) -> list[dict[int, Any]]:
    found = fields.get(number, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("a damaged footer")
    return found


def _place_of(data: Table, chunk: Chunk) -> tuple[int, int]:
    """First byte and end of a column."""
    place, size = chunk.get(_DATA_PLACE), chunk.get(_COMPRESSED_BYTES)
    first = chunk.get(_DICTIONARY_PLACE)
    if chunk.get(_NUM_VALUES) == 0:
        return 0, 0  # of a table without rows, which has no place for its data; nothing is read
    if not isinstance(place, int) or not isinstance(size, int) or size < 0:
        raise ValueError("a column without a place")
    if isinstance(first, int) and 0 < first < place:
        place = first
    end = place + size
    if not 0 <= place <= end <= len(data):
        raise ValueError("a column lies outside of the file")
    return place, end


def _pages_of(data: Table, chunk: Chunk) -> Iterator[_Page]:
    """The pages of a column; they fill its place without a gap, as a decoder reads them."""
    place, end = _place_of(data, chunk)
    while place < end:
        reader = ThriftReader(data, place, end)
        header = reader.read_struct()
        kind, size_bytes, held = (header.get(number) for number in (1, 2, 3))
        facts = header.get(_HEADER_OF.get(kind, 0)) if isinstance(kind, int) else None
        if kind is None or not isinstance(facts, dict) or not isinstance(size_bytes, int):
            raise ValueError(f"a page of an unknown kind at byte {place}")
        num_values, encoding = facts.get(1), facts.get(_ENCODING_PLACE[kind])
        place = reader.place + held if isinstance(held, int) and held >= 0 else end + 1
        if place > end or not isinstance(num_values, int) or num_values < 0:
            raise ValueError("a page that is longer than its column")
        if encoding not in _ENCODINGS or not 0 <= size_bytes <= _MOST_OF_A_PAGE:
            raise ValueError(
                f"a page of {size_bytes:,} bytes in encoding {encoding}; at most {_MOST_OF_A_PAGE:,}, "
                "in one that we write"
            )
        yield _Page(size_bytes, 0 if kind == _DICTIONARY else num_values)
