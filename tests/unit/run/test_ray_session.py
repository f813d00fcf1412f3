"""Where Ray puts its sockets: their paths have at most 107 bytes."""

import os
import tempfile
from pathlib import Path

import pytest

from factory.errors import PluginError
from factory.run import ray_session
from factory.run.ray_session import _short_folder

LONG = "/tmp/cluster-node-0042/users/someone/job-13557001"


@pytest.fixture(autouse=True)
def long_folder(tmp_path, monkeypatch):  # the tests' own folder is made before
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", LONG)


def test_a_long_folder_for_temporary_files_is_not_used_for_sockets():
    folder = Path(_short_folder())
    assert len(str(folder)) < 32
    assert folder.stat().st_uid == os.getuid()
    assert _short_folder() == str(folder), "it is made once"


def test_a_short_one_and_one_that_the_user_chose_are_left_to_ray(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/mine")
    assert _short_folder() is None
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    assert _short_folder() is None


def test_a_chosen_folder_that_is_too_long_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", LONG)
    with pytest.raises(PluginError) as caught:
        _short_folder()
    assert str(caught.value) == (
        f"RAY_TMPDIR: {LONG} has too long a name for Ray's sockets; at most 38 bytes; set it to a "
        "short folder, such as /tmp"
    )


@pytest.mark.parametrize("what", ["link", "file", "other"])
def test_a_folder_that_somebody_else_laid_there_is_not_used(monkeypatch, tmp_path, what):
    uid = os.getuid() + 54321  # a name that nothing else uses
    place = Path(f"/tmp/ray-{uid}")
    if what == "link":
        monkeypatch.setattr(ray_session.os, "getuid", lambda: uid)
        place.symlink_to(tmp_path)
    elif what == "file":
        monkeypatch.setattr(ray_session.os, "getuid", lambda: uid)
        place.touch()
    else:  # it belongs to this user, and the process is another's
        place.mkdir()
        monkeypatch.setattr(ray_session.os, "getuid", lambda: uid)
    try:
        folder = Path(_short_folder())
        assert folder != place
        assert len(str(folder)) < 32
        folder.rmdir()
        assert not list(tmp_path.iterdir())
    finally:
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        else:
            place.unlink()
