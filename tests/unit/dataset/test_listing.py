"""A listing that hides or lags never makes a finished dataset look empty."""

import pytest
from small_job import Witness, make_small, small_job

import factory.dataset.receipts
from factory.dataset.committed import find_committed
from factory.dataset.listing import check_listing
from factory.dataset.state import find_plan
from factory.errors import StoreError
from factory.job import run_job
from factory.store import open_store
from factory.store.local import LocalStore


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def hide(monkeypatch, is_hidden, times=1000):
    """Listings lack the names that `is_hidden` picks; reading them still works."""
    names = LocalStore.names
    left = [times]

    def lacking(store, folder, splits=()):
        found = names(store, folder, splits)
        if folder == "receipts" and left[0]:
            left[0] -= 1
            return [name for name in found if not is_hidden(name)]
        return found

    monkeypatch.setattr(LocalStore, "names", lacking)


@pytest.mark.parametrize("hidden", ["receipts/", "receipts/0000/000001"])
def test_shards_that_are_there_and_not_listed_are_told_and_the_views_stay(
    root, tmp_path, monkeypatch, hidden
):
    before = files_of(root)
    hide(monkeypatch, lambda name: name.startswith(hidden))
    with pytest.raises(StoreError) as caught:
        make_small(tmp_path)
    text = str(caught.value)
    count = 3 if hidden == "receipts/" else 1
    assert f"the listing of receipts/ lacks {count} receipts of committed shards, though " in text
    assert "manifest, card and snapshots are the old ones" in text
    assert "run the job again later" in text
    assert "\n" not in text
    assert files_of(root) == before


def test_targets_do_not_make_a_run_go_round_for_ever(tmp_path, monkeypatch):
    targets = {"dataset.coverage": {"min_samples": {"1": 20}, "budget": 40}}
    make_small(tmp_path, targets)
    hide(monkeypatch, lambda name: True)
    with pytest.raises(StoreError, match="the listing of receipts/ lacks"):
        make_small(tmp_path, targets)


def test_a_listing_that_has_caught_up_at_the_end_is_no_error(root, tmp_path, monkeypatch):
    before = files_of(root)
    hide(monkeypatch, lambda name: True, times=1)
    witness = Witness()
    run_job(small_job(tmp_path), witness)
    assert len(witness.records) == 3  # found at their commit
    assert files_of(root) == before


def test_snapshots_stay_if_the_listing_lacks_what_they_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(factory.dataset.receipts, "BLOCK", 2)
    make_small(tmp_path)
    before = files_of(tmp_path / "out")
    assert any(name.startswith("snapshots/") for name in before)
    hide(monkeypatch, lambda name: True)
    with pytest.raises(StoreError, match="lacks 2 receipts of committed shards"):
        make_small(tmp_path)
    assert files_of(tmp_path / "out") == before


def test_a_snapshot_of_a_shard_that_was_committed_since_the_listing_is_no_error(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(factory.dataset.receipts, "BLOCK", 2)
    make_small(tmp_path)
    store = open_store(str(tmp_path / "out"))
    plan = find_plan(store)
    hide(monkeypatch, lambda name: name.endswith("000001.json"), times=1)
    done = find_committed(store, plan)  # it is made again as far as this listing tells
    assert done.indices == {0, 2}


def test_receipts_that_are_gone_are_no_error(root):
    store = open_store(str(root))
    listed = set(store.names("receipts"))
    check_listing(store, {"receipts/0000/000099.json"}, lambda: listed)


def test_receipts_in_a_folder_that_is_a_link_are_listed(root, tmp_path):
    (root / "receipts/0000").rename(tmp_path / "elsewhere")
    (root / "receipts/0000").symlink_to(tmp_path / "elsewhere")
    witness = Witness()
    manifest = run_job(small_job(tmp_path), witness)
    assert witness.starts == [(13, 13)]
    assert len(manifest.records) == 3


@pytest.mark.parametrize("place", ["receipts/0000", "receipts", "data/train", "data"])
def test_a_folder_that_is_a_link_to_nothing_is_told(root, tmp_path, place):
    (root / place).rename(tmp_path / "elsewhere")
    (root / place).symlink_to(tmp_path / "not-mounted")
    store = open_store(str(root))
    with pytest.raises(StoreError, match=r"a link to .*not-mounted, which is not there; mount it"):
        store.names(place.partition("/")[0])
    with pytest.raises(StoreError, match=r"a link to .*not-mounted, which is not there; mount it"):
        make_small(tmp_path, {"dataset.num_samples": 19})
