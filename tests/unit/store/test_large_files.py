"""Files that are larger than any of a dataset: 40 GB of nothing take no room on a disk."""

import pytest

from factory.errors import DamageError
from factory.store import LocalStore
from factory.store.failures import MOST_READ_BYTES, WholeFile


def test_a_file_too_large_to_be_read_whole_is_one_line_and_can_be_read_in_parts(tmp_path):
    with (tmp_path / "labels.json").open("wb") as file:
        file.truncate(40 * 2**30)
    store = LocalStore(str(tmp_path))
    with pytest.raises(DamageError) as caught:
        store.read("labels.json")
    assert str(caught.value) == (
        f"{tmp_path}/labels.json: 42,949,672,960 bytes; no file of a dataset that is read whole has "
        "more than 1,073,741,824; delete it and run the job again"
    )
    assert store.read_part("labels.json", 2**34, 3) == b"\0\0\0"


def test_a_download_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr("factory.store.failures.MOST_READ_BYTES", 10)
    sink = WholeFile("s3://bucket/a")
    sink.write(b"12345")
    sink.write(b"67890")
    assert sink.getvalue() == b"1234567890"
    with pytest.raises(DamageError, match=r"s3://bucket/a: 11 bytes; "):
        sink.write(b"1")
    sink.truncate(sink.seek(0))  # as a second attempt does
    sink.write(b"1234567890")
    assert MOST_READ_BYTES == 2**30
