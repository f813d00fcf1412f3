"""Tables to and from bytes."""

import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.manifest.parquet import encode_table, read_table

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
from factory.manifest.parquet import encode_table, read_table
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
