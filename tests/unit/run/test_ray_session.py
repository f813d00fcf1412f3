"""Where Ray puts its sockets: their paths have at most 107 bytes."""

import os
import tempfile
from pathlib import Path

import pytest

from factory.errors import PluginError
from factory.run import ray_session
from factory.run.ray_session import _short_folder, actors_on, num_actors_of
from factory.spec import RunSpec

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


NODES = [
    {"CPU": 8.0, "GPU": 2.0, "a100": 2.0},
    {"CPU": 4.0, "GPU": 1.0},
    {"CPU": 16.0},
    {"CPU": 0.0},
]


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({}, 28),
        ({"threads_per_actor": 3}, 2 + 1 + 5),
        ({"gpus_per_actor": 1}, 3),
        ({"gpus_per_actor": 0.5}, 6),
        ({"gpus_per_actor": 0.3}, 3 * 3),
        ({"gpus_per_actor": 0.4}, 2 * 2 + 2),
        ({"gpus_per_actor": 0.1}, 8 + 4),
        ({"gpus_per_actor": 1, "resources": {"a100": 1}}, 2),
        ({"resources": {"a100": 2}}, 1),
        ({"resources": {"tpu": 1}}, 0),
        ({"threads_per_actor": 16}, 1),
    ],
)
def test_an_actor_fits_on_one_node_and_not_on_the_sum_of_all(settings, number):
    assert actors_on(NODES, RunSpec(**{"gpus_per_actor": 0} | settings)) == number


def test_thirds_of_a_gpu_are_three(monkeypatch):
    assert actors_on([{"CPU": 9.0, "GPU": 1.0}], RunSpec(gpus_per_actor=1 / 3)) == 3


def test_a_cluster_that_grows_may_be_empty_at_first(monkeypatch):
    monkeypatch.setattr(ray_session, "_nodes", lambda: [{"CPU": 0.0}])
    assert num_actors_of(RunSpec(address="auto", max_actors=5)) == 5
    with pytest.raises(PluginError, match=r"do not fit this cluster .*set run\.max_actors"):
        num_actors_of(RunSpec(address="auto"))
