"""An address is what it looks like, or refused: never a folder with a colon in its name."""

from pathlib import Path

import pytest

from factory.errors import StoreError
from factory.store import LocalStore, open_store
from factory.store.addresses import local_path, split_address


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("out/cells", "out/cells"),
        ("/data/out", "/data/out"),
        ("file:///data/out", "/data/out"),
        ("file://localhost/data/out", "/data/out"),
        ("FILE:///data/out", "/data/out"),
        ("file:///data/a%20b", "/data/a b"),
        ("cells:v2", "cells:v2"),
        ("./s3:/x", "s3:/x"),
        ("what?", "what?"),
        ("~/x", str(Path.home() / "x")),
    ],
)
def test_paths_of_this_machine(address, path):
    assert local_path(address) == Path(path)


@pytest.mark.parametrize(
    ("address", "scheme", "rest"),
    [
        ("s3://bucket/a/b", "s3", "bucket/a/b"),
        ("S3://bucket/a/b", "s3", "bucket/a/b"),
        ("https://me:pw@host/x?y#z", "https", "me:pw@host/x?y#z"),
    ],
)
def test_places_of_servers(address, scheme, rest):
    assert split_address(address) == (scheme, rest)
    assert local_path(address) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3:/bucket/x", "two slashes belong behind the colon: s3://bucket/x"),
        ("s3:bucket/x", "two slashes belong behind the colon: s3://bucket/x"),
        ("file:/data/x", "two slashes belong behind the colon"),
        ("file:x", "two slashes belong behind the colon"),
        ("https:/host/x", "two slashes belong behind the colon: https://host/x"),
        ("odd:/x", "of a path whose first name has a colon, write ./odd:/x"),
        (
            "file://host/x",
            "where 'host' is the name of a machine; a place on this one is file:///host/x",
        ),
        ("file://tmp", "where 'tmp' is the name of a machine"),
        ("file://", "where 'nothing' is the name of a machine"),
        ("file:///x?y=1", "with a query or a fragment"),
        ("file:///a%00b", "holds a zero character"),
        ("s3://bucket/a b", "found an address of S3 with a space in it; choose a prefix without"),
        ("file:///out/a b", "found an address with a space in it; write %20 for it"),
        (
            "s3://me:pw@bucket/a",
            "with a user, a query or a fragment; give s3://bucket/prefix alone",
        ),
        ("s3://bucket/a?x=y", "with a user, a query or a fragment; give s3://bucket/prefix alone"),
        ("~nobody-of-this-name/x", "nothing says where that home is"),
    ],
)
def test_what_is_neither_is_refused_and_nothing_is_made(address, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as caught:
        open_store(address)
    assert str(caught.value).startswith("output.uri: found ")
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_nobody_knows_is_told(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(ValueError, match="nothing says where that home is; write it out"):
        local_path("~/x")


def test_a_file_address_and_its_path_are_one_store(tmp_path):
    store = open_store(f"file://{tmp_path}/a%20b")
    assert isinstance(store, LocalStore)
    assert store.uri == f"{tmp_path}/a b"
