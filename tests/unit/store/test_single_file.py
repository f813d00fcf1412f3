"""Files that commands are asked for: whole or as before, and nothing left beside them."""

import os
import resource
import threading

import pytest

from factory.errors import JobError
from factory.store.single_file import make_folder, replace_file


def test_the_new_bytes_are_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.png"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_does_not_fit_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    replace_file(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(JobError, match=r"a.png: cannot write \(File too large\); give another"):
            replace_file(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    replace_file(path, b"through")
    reader.join(10)
    assert found == [b"through"]
    assert path.is_fifo()


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(JobError, match=r"cannot write \(Is a directory\); give another path"):
        replace_file(tmp_path, b"data")


def test_a_folder_that_cannot_be_made_is_told_and_one_that_is_there_stays(tmp_path):
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    (tmp_path / "a/file").touch()
    for folder in (tmp_path / "a/file", tmp_path / "a/file/b"):
        with pytest.raises(JobError, match="cannot write"):
            make_folder(folder)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "file"]
