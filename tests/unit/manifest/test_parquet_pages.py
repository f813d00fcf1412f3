"""Tables that would unfold into gigabytes, whatever their footers say of it."""

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.manifest.parquet import encode_table, read_table
from factory.manifest.parquet_pages import unfolded_bytes

MIB = 2**20


def encoded(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


def varint(value: int, size: int = 1) -> bytes:
    """A number as Thrift writes it, in at least `size` bytes."""
    pieces = []
    while value >= 128 or len(pieces) < size - 1:
        pieces.append(value & 127 | 128)
        value >>= 7
    return bytes([*pieces, value])


def understated(data: bytes) -> bytes:
    """The same table, whose footer claims 1,000 bytes for every column and row group."""
    facts = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [facts.row_group(place) for place in range(facts.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    sizes = {group.total_byte_size for group in groups} | {
        c.total_uncompressed_size for c in chunks
    }
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    for size in (size for size in sizes if size > 100_000):  # others are no claim to hide
        stated = varint(2 * size)
        assert stated in footer
        footer = footer.replace(stated, varint(2 * 1000, len(stated)))
    changed = data[: -8 - length] + footer + data[-8:]
    assert pq.ParquetFile(io.BytesIO(changed)).metadata.row_group(0).total_byte_size < 100_000
    return changed


def repeated(text: str, count: int) -> pa.Array:
    """One text as the value of many rows, stored once."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), [text])


def in_one_row(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays([0, len(values)], values)


BOMBS = {
    "a page of 70 MiB": (
        lambda: encoded(pa.table({"a": ["x" * (70 * MIB)]}), use_dictionary=False),
        r"a page of 73,400,330 bytes in encoding 0; at most 67,108,864",
    ),
    "pages that are too large together": (
        lambda: encoded(
            pa.table({"a": ["x" * (20 * MIB)] * 4}),
            use_dictionary=False,
            data_page_size=1000,
            write_batch_size=1,
        ),
        r"pages of more than 68,157,440 bytes in 4 rows: more than a table of ours",
    ),
    "texts that share their beginnings": (
        lambda: encoded(
            pa.table({"a": ["x" * MIB] * 100}),
            use_dictionary=False,
            column_encoding={"a": "DELTA_BYTE_ARRAY"},
        ),
        r"in encoding 7; at most",
    ),
    "a row of 20 million numbers": (
        lambda: encoded(pa.table({"a": in_one_row(pa.repeat(pa.scalar(7), 20_000_000))})),
        r"more than 16,777,280 values in 1 rows",
    ),
    "a row of 20 million times nothing": (
        lambda: encoded(pa.table({"a": in_one_row(pa.nulls(20_000_000, pa.int64()))})),
        r"more than 16,777,280 values in 1 rows",
    ),
    "a long text in every row": (
        lambda: encoded(pa.table({"a": repeated("x" * MIB, 4000)}), store_schema=False),
        r"more than 1,073,741,824 bytes",
    ),
    "a long text in every place of a list": (
        lambda: encoded(
            pa.table({"a": in_one_row(repeated("x" * 10_000, 1_000_000))}), store_schema=False
        ),
        r"more than 1,073,741,824 bytes",
    ),
    "values of a fixed size": (
        lambda: encoded(pa.table({"a": pa.array([b"x" * MIB] * 90, pa.binary(MIB))})),
        r"a column of FIXED_LEN_BYTE_ARRAY",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_table_that_understates_its_size_is_refused_before_it_takes_memory(name: str) -> None:
    make, words = BOMBS[name]
    data = understated(make())
    assert len(data) < 2**17
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    try:
        with pytest.raises(ValueError, match=words):
            read_table(data)
    finally:
        pa.set_memory_pool(usual)
    assert (counted.max_memory() or 0) < 128 * MIB


def test_a_footer_of_many_megabytes_is_not_read() -> None:
    data = encoded(pa.table({"a": [1]}).replace_schema_metadata({"x": "y" * (20 * MIB)}))
    with pytest.raises(ValueError, match=r"a footer of [\d,]+ bytes; at most 16,777,216 are read"):
        read_table(data)


def test_texts_that_are_none_are_damage_when_they_are_read() -> None:
    bad = pa.array([b"\xff\xfe"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 1, bad.buffers())
    with pytest.raises(pa.ArrowInvalid, match="UTF8"):
        read_table(encode_table(pa.table({"a": column})))


TABLE = pa.table(
    {
        "text": [f"text {number % 7}" for number in range(300)],
        "list": pa.array([[1, 2, 3], [], None] * 100),
        "map": pa.array([[("a", "b" * 5), ("c", "d")]] * 300, pa.map_(pa.string(), pa.string())),
        "texts": pa.array([["q"], ["rr", "s"]] * 150),
        "share": [0.5] * 300,
    }
)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
def test_honest_tables_of_any_layout_are_read(version: str, codec: str) -> None:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, compression=codec, data_page_version=version, row_group_size=70)
    assert read_table(sink.getvalue()).equals(TABLE)


def test_texts_that_did_not_fit_in_a_dictionary_are_read_in_lists_too() -> None:
    texts = pa.array([f"{number:09d}" * 4 for number in range(100_000)])
    lists = pa.ListArray.from_arrays(pa.array(range(0, 100_001, 10), pa.int32()), texts)
    table = pa.table({"text": texts[:10_000], "texts": lists})
    data = encode_table(table)
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(1)
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(chunk.encodings)
    assert read_table(data).equals(table)


def test_what_texts_take_is_counted_without_writing_dictionaries_out() -> None:
    array = repeated("x" * 1000, 50)
    assert unfolded_bytes(array) == 50 * (1000 + 4)
    assert unfolded_bytes(in_one_row(array)) == 50 * (1000 + 4) + 4
    assert unfolded_bytes(pa.nulls(3, pa.dictionary(pa.int32(), pa.string()))) == 3 * 4


@pytest.mark.slow
def test_changed_bytes_end_in_an_error_and_never_the_process() -> None:
    data = encode_table(TABLE)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    rng = random.Random(0)
    refused = 0
    for number in range(1000):
        changed = bytearray(data)
        first = footer if number % 2 else 0  # Arrow throws where nothing catches, for some footers
        changed[rng.randrange(first, len(changed))] = rng.randrange(256)
        try:
            read_table(bytes(changed))
        except (pa.ArrowException, OSError, ValueError, KeyError):
            refused += 1
    assert refused > 300
