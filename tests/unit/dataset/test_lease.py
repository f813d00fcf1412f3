import time

import pytest

import factory.dataset.lease
from factory.dataset.lease import Lease, holding_lease
from factory.dataset.views import make_manifest
from factory.errors import StoreError
from factory.manifest.paths import LEASE_PATH
from factory.store import LocalStore, open_store

from small_job import make_small  # isort: skip


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path / "out"), single_writer=True)


def lease_of(store):
    return Lease.model_validate_json(store.read(LEASE_PATH))


def test_without_need_there_is_no_lease(store):
    with holding_lease(store, "a-1-x", needed=False):
        assert store.read(LEASE_PATH) is None


def test_a_second_run_is_kept_out_and_let_in_afterwards(store):
    with holding_lease(store, "a-1-x", needed=True):
        assert lease_of(store).run_id == "a-1-x"
        with (
            pytest.raises(StoreError) as caught,
            holding_lease(store, "b-2-y", needed=True),
        ):
            pass
    assert str(caught.value) == (
        f"{store.uri}: run a-1-x is writing here, and output.single_writer allows one at a time; wait "
        "for it, or, if it is dead, until its lease expires (600 s)"
    )
    with holding_lease(store, "b-2-y", needed=True):
        assert lease_of(store).run_id == "b-2-y"


def test_a_lease_without_a_sign_of_life_is_over(store):
    store.replace(
        LEASE_PATH, Lease(run_id="a-1-x", renewed_at=time.time() - 601).model_dump_json().encode()
    )
    with holding_lease(store, "b-2-y", needed=True):
        pass


def test_half_a_lease_is_nobodys(store):
    store.replace(LEASE_PATH, b'{"run')
    with holding_lease(store, "b-2-y", needed=True):
        pass


def test_a_lease_is_renewed_while_it_is_held(store, monkeypatch):
    monkeypatch.setattr(factory.dataset.lease, "_RENEW_S", 0.05)
    with holding_lease(store, "a-1-x", needed=True):
        first = lease_of(store).renewed_at
        deadline = time.monotonic() + 30
        while lease_of(store).renewed_at == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert lease_of(store).renewed_at == 0


def test_the_manifest_says_that_one_run_at_a_time_wrote(tmp_path):
    assert make_small(tmp_path, {"output.single_writer": True}).single_writer
    assert make_manifest(open_store(str(tmp_path / "out"))).single_writer
    assert not make_small(tmp_path / "other").single_writer


def test_a_lease_of_a_newer_version_is_not_taken_for_none(tmp_path):
    store = LocalStore(str(tmp_path))
    store.replace("lease.json", b'{"schema_version": 2, "held_by": "some-run"}')
    with (
        pytest.raises(StoreError, match=r"lease.json: written by a newer maskfactory \(layout 2\)"),
        holding_lease(store, "other-run", needed=True),
    ):
        pass
