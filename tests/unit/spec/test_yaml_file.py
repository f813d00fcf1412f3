import os
import threading
from pathlib import Path

import pytest

from factory.errors import JobError
from factory.spec.yaml_file import load_yaml


def load(path):
    return load_yaml(path, noun="shopping list", keys="`fruit`")


def test_a_mapping_is_read_as_utf_8(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_bytes("fruit: pêche\n".encode())
    assert load(path) == {"fruit": "pêche"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "found nothing; a shopping list is a mapping with `fruit`"),
        (b"- fruit", "found a list; a shopping list is a mapping with `fruit`"),
        (b"fruit: \xff", "cannot read the shopping list (not UTF-8 text)"),
        (b"#" * (2**20 + 1), "found more than 1,048,576 bytes; give a YAML file"),
    ],
    ids=["empty", "list", "bytes", "large"],
)
def test_anything_else_is_one_line_with_the_file_s_name(tmp_path, data, found):
    path = tmp_path / "list.yaml"
    path.write_bytes(data)
    with pytest.raises(JobError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {found}"


def test_a_file_of_the_most_characters_is_read_whole(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_bytes(b"fruit: 1\n" + b"#" * (2**18 - 9))
    assert load(path) == {"fruit": 1}
    path.write_bytes(b"fruit: 1\n" + b"#" * (2**18 - 8))
    with pytest.raises(JobError, match="found more than 262,144 characters"):
        load(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(JobError, match=r"cannot read the shopping list \(No such file"):
        load(tmp_path / "list.yaml")
    with pytest.raises(JobError, match=r"cannot read the shopping list \(Is a directory"):
        load(tmp_path)


def test_a_named_pipe_is_not_waited_for_and_a_shell_s_pipe_is_read(tmp_path):
    named = tmp_path / "list.yaml"
    os.mkfifo(named)
    with pytest.raises(JobError, match="found a named pipe; give a file"):
        load(named)
    reading, writing = os.pipe()
    writer = threading.Thread(target=os.write, args=(writing, b"fruit: 2\n"))
    writer.start()
    writer.join()
    os.close(writing)
    try:
        assert load(Path(f"/dev/fd/{reading}")) == {"fruit": 2}
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "https://me:pw@example.org/list.yaml?key=secret",
            "https://example.org/list.yaml: found an address; a shopping list is a local file; download "
            "it first (`factory grow`, and commands that read a dataset, such as `factory status`, take "
            "the dataset's address)",
        ),
        (
            "s3://bucket/out",
            "s3://bucket/out: found an address; a shopping list is a local file; download it first "
            "(`factory grow`, and commands that read a dataset, such as `factory status`, take the "
            "dataset's address)",
        ),
        (
            "file:///home/me/list.yaml",
            "file:///home/me/list.yaml: found an address; a shopping list is a local file; write its "
            "path without file://",
        ),
    ],
)
def test_an_address_is_told_from_a_file_that_is_missing(given, line):
    with pytest.raises(JobError) as caught:
        load(Path(given))
    assert str(caught.value) == line


def test_a_file_whose_path_looks_like_an_address_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("s3:/bucket/list.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("fruit: 3")
    assert load(path) == {"fruit": 3}
