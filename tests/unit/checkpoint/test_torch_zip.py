"""Zip files of torch.save are read without extracting anything; other zip files are refused."""

import io
import struct
import zipfile

import assemble as a
import pytest
import torch

from factory.checkpoint.files.torch_zip import read_torch_zip
from factory.checkpoint.pickles.machine import Rules
from factory.checkpoint.pickles.source import Budget, Stream
from factory.checkpoint.pickles.tensors import torch_tensor
from factory.errors import WeightsError

BODY = a.mapping(w=a.tensor(a.storage_id("0", 4) + b"Q", a.number(0), a.tuple_of(a.number(4)),
                            a.tuple_of(a.number(1))))  # fmt: skip
VALUES = struct.pack("<4f", 1, 2, 3, 4)


def read(data, budget=None):
    stream = Stream(memoryview(data), "x.pt")
    return read_torch_zip(stream, budget or Budget("x.pt", 2**20), Rules())


def entries(**changed):
    plain = {"data.pkl": a.whole(BODY), "byteorder": b"little", "data/0": VALUES}
    return {f"archive/{name}": data for name, data in (plain | changed).items() if data is not None}


def test_what_torch_writes_is_read_to_the_last_element():
    buffer = io.BytesIO()
    state = {"w": torch.arange(6.0).view(2, 3), "b": torch.ones(5, dtype=torch.float16)}
    torch.save(state, buffer)
    budget = Budget("x.pt", 2**20)
    found = read(buffer.getvalue(), budget)
    assert all(torch.equal(torch_tensor(found[name], budget), state[name]) for name in state)


def test_a_program_of_torchscript_is_told_as_one():
    program = {"code/__torch__/torch/nn.py": b"class Linear(Module):"}
    with pytest.raises(WeightsError, match=r"a program of TorchScript.*save its weights alone"):
        read(a.zip_file(entries(**program)))


def test_a_comment_behind_the_directory_is_no_obstacle():
    data = a.zip_file(entries())
    commented = data[:-2] + struct.pack("<H", 5) + b"hello"
    assert read(commented)["w"].size == (4,)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"data/0": None}, "storage '0' of 4 elements with no entry"),
        ({"data/0": VALUES[:-1]}, "storage '0' of 4 elements with 15 bytes"),
        ({"byteorder": b"big"}, "the byte order 'big'"),
        ({"data.pkl": a.whole(BODY) + b"."}, "bytes behind the pickle"),
        ({"data.pkl": None}, r"a zip with 0 files \*/data.pkl"),
    ],
)
def test_a_zip_that_torch_would_not_write_is_refused(changed, found):
    with pytest.raises(WeightsError, match=found):
        read(a.zip_file(entries(**changed)))


@pytest.mark.parametrize(
    "name", ["../x", "/x", "archive//x", "archive/./x", "C:/x", "archive\\x", "archive/../../x"]
)
def test_names_that_would_leave_a_folder_are_refused_though_nothing_is_extracted(name):
    with pytest.raises(WeightsError, match=r"names are relative paths without '\.\.'"):
        read(a.zip_file(entries() | {name: b""}))


def test_two_archives_in_one_and_entries_of_another_are_refused():
    with pytest.raises(WeightsError, match="a zip with 2 files"):
        read(a.zip_file(entries() | {"other/data.pkl": a.whole(BODY)}))
    with pytest.raises(WeightsError, match=r"the zip entry 'other/x'"):
        read(a.zip_file(entries() | {"other/x": b""}))


def test_compressed_and_repeated_entries_are_refused():
    with pytest.raises(WeightsError, match="compressed with method 8"):
        read(a.zip_file(entries(), zipfile.ZIP_DEFLATED))
    buffer = io.BytesIO(a.zip_file(entries()))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(zipfile.ZipInfo("archive/data/0"), VALUES)
    with pytest.raises(WeightsError, match="a second zip entry"):
        read(buffer.getvalue())


def patched(data, magic, offset, value):
    at = data.index(magic) + offset
    return data[:at] + value + data[at + len(value) :]


def test_an_encrypted_entry_is_refused():
    with pytest.raises(WeightsError, match="encrypted zip entry"):
        read(patched(a.zip_file(entries()), b"PK\1\2", 8, b"\1\0"))


def test_a_directory_that_names_other_data_than_lies_there_is_refused():
    with pytest.raises(WeightsError, match="another name or method"):
        read(patched(a.zip_file(entries()), b"PK\3\4", 30, b"X"))
    with pytest.raises(WeightsError, match="which points to byte 4294967294"):
        read(patched(a.zip_file(entries()), b"PK\1\2", 42, b"\xfe\xff\xff\xff"))


@pytest.mark.parametrize("kept", [0, 10, 60, -1])
def test_a_zip_that_was_cut_is_called_truncated(kept):
    with pytest.raises(WeightsError, match="get the file again"):
        read(a.zip_file(entries())[:kept])
