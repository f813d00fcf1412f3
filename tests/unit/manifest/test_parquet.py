"""Tables to and from bytes."""

import hashlib
import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.manifest.parquet import encode_table, read_columns, read_table

_TABLE = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def test_a_table_comes_back_whole_or_in_part() -> None:
    data = encode_table(_TABLE)
    assert read_table(data).equals(_TABLE)
    assert read_table(data, ["b"]).equals(_TABLE.select(["b"]))
    assert encode_table(read_table(data)) == data


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="'c'"):
        read_table(encode_table(_TABLE), ["a", "c"])


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"?" * 40 + b"PAR1"])
def test_what_is_no_table_is_an_error(data: bytes) -> None:
    with pytest.raises((pa.ArrowException, OSError)):
        read_table(data)


_COUNT_THREADS = """
import os, pyarrow as pa
from factory.manifest.parquet import encode_table, read_columns, read_table
data = encode_table(pa.table({name: list(range(300)) for name in "abcdefgh"}))
before = len(os.listdir("/proc/self/task"))
read_table(data), read_table(data, ["a", "b"])
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_reading_starts_no_thread_that_could_abort_the_end_of_the_process() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _COUNT_THREADS], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "0"


@pytest.mark.slow
def test_a_few_rows_that_unfold_into_more_than_a_table_of_ours_are_refused_unread() -> None:
    text = "x" * (80 * 2**20)
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [text, text]}), sink, compression="zstd", use_dictionary=False)
    data = sink.getvalue()
    assert len(data) < 2**20
    with pytest.raises(
        ValueError, match=r"167,\d{3},\d{3} bytes in 2 rows: more than a table of ours"
    ):
        read_table(data)


class Elsewhere:
    """A table of which parts are asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.num_bytes, self.num_reads = data, 0, 0

    def __call__(self, offset: int, size_bytes: int) -> bytes:
        part = self.data[offset : offset + size_bytes]
        self.num_bytes, self.num_reads = self.num_bytes + len(part), self.num_reads + 1
        return part


_NOISE = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(30_000)]
_LONG = pa.table(
    {
        "noise": _NOISE,
        "number": list(range(30_000)),
        "versions": pa.array([[("torch", "2")]] * 30_000, pa.map_(pa.string(), pa.string())),
        "more": _NOISE[::-1],
        "name": ["a", "b", "c"] * 10_000,
    }
)


@pytest.mark.parametrize("columns", [["name"], ["number", "versions"], ["versions", "noise"], []])
def test_columns_of_a_table_elsewhere_are_read_alone(columns: list[str]) -> None:
    data = encode_table(_LONG)
    there = Elsewhere(data)
    found = read_columns(there, len(data), columns)
    assert found.column_names == columns
    assert found.equals(_LONG.select(columns)) or not columns
    if "noise" not in columns:
        assert there.num_bytes < 0.1 * len(data)
    assert there.num_reads <= 3


def test_a_long_footer_is_read_whole() -> None:
    table = _TABLE.replace_schema_metadata({"note": "".join(_NOISE[:5000])})
    data = encode_table(table)
    assert read_columns(Elsewhere(data), len(data), ["b"]).column("b").to_pylist() == [
        "x",
        "y",
        "z",
    ]


def test_a_table_elsewhere_that_is_shorter_than_listed_or_damaged_is_an_error() -> None:
    data = encode_table(_LONG)
    with pytest.raises(ValueError, match=r"bytes at [\d,]+; there should be"):
        read_columns(Elsewhere(data[:-100]), len(data), ["name"])
    with pytest.raises(KeyError, match="'gone'"):
        read_columns(Elsewhere(data), len(data), ["gone"])
    for bad in (b"", b"PAR1", data[:-1], data[: len(data) // 2], b"\xff" * 70_000):
        with pytest.raises((pa.ArrowException, OSError, ValueError)):
            read_columns(Elsewhere(bad), len(bad), ["name"])
    hollow = data[:4] + bytes(len(data) - 20_004) + data[-20_000:]
    with pytest.raises(ValueError, match="a page of an unknown kind"):  # pages are looked at too
        read_columns(Elsewhere(hollow), len(hollow), ["noise"])
