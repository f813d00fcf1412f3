"""Machines without hard links or a home: one line with the remedy that helps, or it just works."""

import errno
import os
from pathlib import Path

import pytest
from small_job import small_job

from factory.errors import JobError, StoreError
from factory.plan.identity import make_identity
from factory.plan.rounds import make_plan
from factory.run.estimate import estimate_job
from factory.store import LocalStore
from factory.store.cache import cache_folder


def test_a_file_system_that_forbids_links_gets_the_remedy_of_one_without_them(
    tmp_path, monkeypatch
):
    def link(*_words: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match=r"output\.single_writer: true"):
        LocalStore(str(tmp_path)).create("a", b"")
    assert LocalStore(str(tmp_path), single_writer=True).create("a", b"")


def test_a_user_without_a_home_has_a_cache_below_the_temporary_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder("x") == Path(tmp_path, "cache-12345", "maskfactory", "x")


@pytest.mark.parametrize("seed", [2**32 - 13, 2**32 - 12])
def test_seeds_that_end_in_the_middle_are_told_before_the_first_shard(tmp_path, seed):
    latents = {"draw": "nvidia_seed", "seed": seed}
    spec = small_job(tmp_path, {"dataset.latents": latents, "dataset.num_samples": 13})
    identity = make_identity(spec, weights_sha256="", segmenter_sha256="")
    if seed == 2**32 - 13:
        assert make_plan(spec, identity).num_samples == 13
        return
    for refuse in (lambda: make_plan(spec, identity), lambda: estimate_job(spec)):
        with pytest.raises(JobError, match=r"up to 4,294,967,296 .* they end at 4,294,967,295"):
            refuse()
