import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import SpooledTemporaryFile

import pytest
from racing import race

from factory.errors import StoreError
from factory.provenance import new_run_id, run_is_dead
from factory.store import LocalStore, open_store
from factory.store.failures import explain_os_error


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path / "out"))


def unfinished(store):
    return [path for path in store.root.glob("tmp/**/*") if path.is_file()]


def test_of_eight_that_create_one_name_exactly_one_wins(store):
    for round_index in range(10):
        name = f"a/b/{round_index}.json"
        won = race([lambda i=i, name=name: store.create(name, b"%d" % i * 100) for i in range(8)])
        assert sorted(won) == [False] * 7 + [True]
        assert store.read(name) == b"%d" % won.index(True) * 100
    assert unfinished(store) == []


def test_of_eight_that_publish_one_name_exactly_one_wins(store):
    folder = store.work_folder("run")
    for round_index in range(10):
        files = [folder / str(i) for i in range(8)]
        for i, file in enumerate(files):
            file.write_bytes(b"%d" % i)
        won = race([lambda f=f, r=round_index: store.publish(f"d/{r}.tar", f) for f in files])
        assert sorted(won) == [False] * 7 + [True]
        assert store.read(f"d/{round_index}.tar") == b"%d" % won.index(True)
    assert unfinished(store) == []


def test_readers_of_a_file_that_is_being_replaced_see_the_old_bytes_or_the_new(store):
    versions = [bytes([digit]) * 50_000 for digit in range(4)]
    store.replace("view", versions[0])
    seen = set()
    done = threading.Event()

    def look():
        while not done.is_set():
            seen.add(store.read("view"))

    reader = threading.Thread(target=look)
    reader.start()
    for version in versions * 3:
        store.replace("view", version)
    done.set()
    reader.join()
    assert seen <= set(versions)
    assert store.read("view") == versions[-1]
    assert unfinished(store) == []


def test_a_name_that_exists_is_never_written_again(store):
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    file = store.work_folder("run") / "x"
    file.write_bytes(b"third")
    assert not store.publish("a", file)
    assert store.read("a") == b"first"
    assert not file.exists()


def test_a_published_file_is_moved_and_not_copied(store):
    file = store.work_folder("run") / "x"
    file.write_bytes(b"data")
    inode = file.stat().st_ino
    assert store.publish("data/x", file)
    assert not file.exists()
    assert (store.root / "data/x").stat().st_ino == inode


def test_nothing_is_made_before_something_is_written(store):
    assert store.read("a") is None
    assert store.names("") == []
    assert store.find_foreign_entry(()) is None
    with store.fetch("a") as path:
        assert path is None
    store.clean_up("run")
    assert not store.root.exists()


def test_names_are_those_of_all_files_below_sorted(store):
    for name in ("d/b", "d/a/c", "d/a/b", "e"):
        store.create(name, b"")
    assert store.names("d") == ["d/a/b", "d/a/c", "d/b"]
    assert store.names("none") == []


def test_a_stranger_is_what_is_not_known(store):
    store.create("data/x", b"")
    store.create("photos/x", b"")
    store.create("a.txt", b"")
    assert store.find_foreign_entry(["data", "tmp", "photos"]) == "a.txt"
    assert store.find_foreign_entry(["data", "tmp", "a.txt"]) == "photos"
    assert store.find_foreign_entry(["data", "tmp", "a.txt", "photos"]) is None


def test_clean_up_removes_this_run_and_dead_ones_and_no_living_one(store):
    finished = subprocess.run(
        [sys.executable, "-c", "from factory.provenance import new_run_id as n; print(n())"],
        capture_output=True,
        text=True,
        check=True,
    )
    dead, living = finished.stdout.strip(), new_run_id()
    elsewhere = "another-host-1-00000000"
    for run_id in ("mine", dead, living, elsewhere):
        (store.work_folder(run_id) / "x.tar").write_bytes(b"x")
    (store.root / "tmp" / f"{dead[:-8]}ffffffff").write_bytes(b"staged by the dead")
    store.clean_up("mine")
    assert sorted(path.name for path in (store.root / "tmp").iterdir()) == sorted(
        [living, elsewhere]
    )


def test_clean_up_removes_the_folder_itself_when_it_is_empty(store):
    store.create("a", b"")
    store.clean_up("run")
    assert [path.name for path in store.root.iterdir()] == ["a"]


def test_a_file_behind_a_link_out_of_the_dataset_is_not_removed(store, tmp_path):
    store.create("data/inside", b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").touch()
    (store.root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"out/link/precious: lies behind a link that leads out"):
        store.remove("link/precious")
    assert (tmp_path / "elsewhere/precious").exists()
    (store.root / "own").symlink_to(store.root / "data")
    store.remove("own/inside")
    assert store.names("data") == []


def test_a_run_of_this_process_is_not_dead_and_one_of_another_host_is_not_known_to_be():
    assert not run_is_dead(new_run_id())
    assert not run_is_dead("no-such-host-999999999-00000000")
    assert not run_is_dead("strange name")


def test_a_parent_that_is_a_file_is_told_with_what_to_do(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = LocalStore(str(tmp_path / "file" / "out"))
    with pytest.raises(StoreError) as caught:
        store.create("a", b"")
    assert str(caught.value) == (
        f"{tmp_path}/file/out/a: not a directory; choose an output.uri whose parents are folders"
    )
    assert store.read("a") is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (
            errno.ENOSPC,
            "p: no space left on device; free some space and run the command again: everything "
            "committed is kept",
        ),
        (
            errno.EDQUOT,
            "p: disk quota exceeded; free some quota and run the command again: everything "
            "committed is kept",
        ),
        (
            errno.EACCES,
            "p: permission denied; give yourself write permission, or choose another output.uri",
        ),
        (
            errno.EPERM,
            "p: operation not permitted; give yourself write permission, or choose another "
            "output.uri",
        ),
        (
            errno.EROFS,
            "p: read-only file system; mount it writable, or choose another output.uri",
        ),
        (errno.EIO, "p: input/output error; mend it and run the command again"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(number, text):
    error = explain_os_error(Path("p"), OSError(number, os.strerror(number)))
    assert str(error) == text


@pytest.mark.parametrize("how", ["create", "publish"])
def test_a_folder_where_a_file_should_be_is_told_and_nothing_is_left(store, how):
    (store.root / "d").mkdir(parents=True)
    file = store.work_folder("run") / "x"
    file.write_bytes(b"")
    with pytest.raises(StoreError, match="file exists"):
        store.create("d", b"") if how == "create" else store.publish("d", file)
    assert unfinished(store) in ([], [file])


def test_a_file_is_replaced_by_all_of_an_open_one(store):
    with SpooledTemporaryFile(1000) as file:
        file.write(b"x" * 3000)
        store.replace("view", file)
    assert store.read("view") == b"x" * 3000


def test_a_failed_replace_leaves_nothing_unfinished(store):
    (store.root / "d").mkdir(parents=True)
    with pytest.raises(StoreError, match="is a directory"):
        store.replace("d", b"")
    assert unfinished(store) == []


def test_a_scheme_that_cannot_be_written_to_is_refused():
    with pytest.raises(StoreError) as caught:
        open_store("ftp://host/x")
    assert str(caught.value).startswith("output.uri: found 'ftp://host/x'; ")


def test_a_path_and_its_file_uri_are_one_store(tmp_path):
    assert open_store(f"file://{tmp_path}").uri == open_store(str(tmp_path)).uri == str(tmp_path)


def test_a_home_is_expanded_and_a_relative_path_made_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert open_store("~/x").uri == open_store("x").uri == str(tmp_path / "x")
