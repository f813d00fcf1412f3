"""Training pictures are found where they are: links are followed, hidden files are not pictures."""

import gzip
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives import member, sparse_tar, tar_with
from pictures import write_tar

from factory.errors import JobError
from factory.train_generator.sources import find_files


def found(uri):
    return {file.name: file.read() for file in find_files(str(uri))}


def refusal(uri):
    with pytest.raises(JobError, match=r"^images\.uri: ") as caught:
        found(uri)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_links_to_folders_and_to_files_are_followed(tmp_path):
    fill(tmp_path / "real", "b/1.png", "b/deep/2.png", "c.png")
    fill(tmp_path / "mix", "a/1.png")
    (tmp_path / "mix/b").symlink_to(tmp_path / "real/b")
    (tmp_path / "mix/b_again").symlink_to("../real/b")
    (tmp_path / "mix/a/3.png").symlink_to(tmp_path / "real/c.png")
    (tmp_path / "linked").symlink_to("mix")
    names = ["a/1.png", "a/3.png", "b/1.png", "b/deep/2.png", "b_again/1.png", "b_again/deep/2.png"]
    assert sorted(found(tmp_path / "mix")) == names
    assert sorted(found(tmp_path / "linked")) == names


@pytest.mark.parametrize("target", [".", "..", "/", "a", "loop"])
def test_a_link_that_leads_around_in_a_circle_is_named(tmp_path, target):
    fill(tmp_path / "p", "a/1.png")
    link = tmp_path / "p/a/z"
    link.symlink_to(tmp_path / "p/a" if target == "a" else "z" if target == "loop" else target)
    assert str(link) in refusal(tmp_path / "p")


def test_a_link_to_nothing_is_named_rather_than_left_out(tmp_path):
    fill(tmp_path, "a/1.png")
    (tmp_path / "b").symlink_to("gone")
    assert f"{tmp_path}/b is a link to something that is not there" in refusal(tmp_path)


HIDDEN = ("._1.png", ".DS_Store", ".ipynb_checkpoints/1.png", "a/.git/x.png", "__MACOSX/._1.png")


def test_hidden_files_and_folders_are_left_out_everywhere(tmp_path):
    fill(tmp_path / ".cache/p", "a/1.png", *HIDDEN)
    assert found(tmp_path / ".cache/p") == {"a/1.png": b"a/1.png"}
    files = {name: name.encode() for name in ("a/1.png", *HIDDEN)}
    write_tar(tmp_path / "x-0.tar", {f"./{name}": data for name, data in files.items()})
    assert found(tmp_path / "x-0.tar") == {"a/1.png": b"a/1.png"}
    write_tar(tmp_path / "x-1.tar", files)
    names = {"a/x-0:1.png", "a/x-1:1.png"}
    assert found(tmp_path / "x-{0..1}.tar").keys() == names
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert found(tmp_path / "x.zip") == {"a/1.png": b"a/1.png"}


def test_a_compressed_tar_is_a_tar(tmp_path):
    path = write_tar(tmp_path / "a.tgz", {"a/1.png": b"1"})
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert found(path) == {"a/1.png": b"1"}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("/dev/zero", "/dev/zero is a device, a pipe or a folder"),
        ("pipe", "pipe is a device, a pipe or a folder"),
        ("none", "nothing at none; give a folder, tar files or a zip"),
        ("none-{0..3}.tar", "nothing at none-0.tar"),
        ("s3://bucket/x.tar", "found s3://bucket/x.tar; pictures are read from this machine"),
        ("https://host/x.zip", "found https://host/x.zip; pictures are read from this machine"),
        ("s3:/bucket/x.tar", "two slashes belong behind the colon"),
        ("file://host/x", "'host' is the name of a machine"),
        ("x-{0..99999999999}.tar", "is a range of 100,000,000,000 files; allowed: 1 to 100,000"),
        ("x-{0..999}{0..999}.tar", "is a range of 1,000,000 files"),
        ("x-{5..2}.tar", "is a range of 0 files"),
        ("text.tar", "text.tar is not a whole tar or zip"),
        ("/proc/self/mem", "/proc/self/mem is not a whole tar or zip"),
    ],
)
def test_what_holds_no_pictures_is_told_at_once(tmp_path, monkeypatch, uri, words):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("text.tar").write_text("text")
    assert words in refusal(uri)


def test_a_range_has_as_many_digits_as_its_first_number(tmp_path):
    for name in ("a-08.tar", "a-09.tar", "a-10.tar"):
        write_tar(tmp_path / name, {f"{name}.png": b""})
    assert len(found(tmp_path / "a-{08..10}.tar")) == 3
    for name in ("b-9-x.tar", "b-10-x.tar"):
        write_tar(tmp_path / name, {f"{name}.png": b""})
    assert len(found(tmp_path / "b-{9..10}-x.tar")) == 2


def test_devices_pipes_and_sockets_in_a_folder_are_not_files(tmp_path):
    fill(tmp_path, "a/1.png")
    os.mkfifo(tmp_path / "a/2.png")
    (tmp_path / "a/3.png").symlink_to("/dev/zero")
    assert list(found(tmp_path)) == ["a/1.png"]


def test_what_cannot_be_read_in_an_archive_comes_with_its_oddity(tmp_path):
    sparse_tar(tmp_path / "s.tar", "x.png", 20 * 2**30)
    (file,) = find_files(str(tmp_path / "s.tar"))
    assert file.oddity == "a sparse file"
    tar_with(tmp_path / "l.tar", member("x.png", tarfile.LNKTYPE, "y.png"))
    (file,) = find_files(str(tmp_path / "l.tar"))
    assert file.oddity == "a link"


def test_a_file_larger_than_any_picture_is_odd(tmp_path):
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(2**29)
    (odd,) = find_files(str(tmp_path))
    assert odd.oddity == "536,870,912 bytes large"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_what_may_not_be_read_is_named(tmp_path):
    fill(tmp_path, "a/1.png")
    (tmp_path / "a/1.png").chmod(0)
    assert "permission denied; make it readable or take it out" in refusal(tmp_path)
