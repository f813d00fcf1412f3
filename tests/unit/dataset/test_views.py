import pytest
from counting import CountingStore
from small_job import make_small

import factory.dataset.receipts
import factory.job
from factory.dataset.state import DatasetState, find_state
from factory.dataset.views import finish_beside_others
from factory.job import finish_job
from factory.manifest.paths import (
    CARD_PICTURE,
    MANIFEST_PATH,
    README_PATH,
    index_path,
    receipt_path,
    round_path,
)
from factory.manifest.records import encode_record
from factory.manifest.table import read_manifest

INDEX_PATH = index_path()
VIEWS = (INDEX_PATH, CARD_PICTURE, README_PATH, MANIFEST_PATH)
EIGHT = {"dataset.num_samples": 22, "dataset.samples_per_shard": 3}
GROWN = {"dataset.num_samples": 29, "dataset.samples_per_shard": 3}
TARGETS = {"min_samples": {"cluster_01": {"count": 25, "min_area": 0.02}}, "budget": 200}


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Run a small job again, and return the store that counted what the run asked for."""

    def run_again(settings):
        store = CountingStore(tmp_path / "out")
        monkeypatch.setattr(factory.job, "open_store", lambda *_, **__: store)
        make_small(tmp_path, settings)
        monkeypatch.undo()
        return store

    return run_again


def views_of(root):
    return {name: (root / name).read_bytes() for name in VIEWS}


def once(paths):
    return dict.fromkeys(paths, 1)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[EIGHT], [EIGHT, GROWN]], ids=["made", "grown"])
def test_a_resume_with_nothing_to_do_reads_each_receipt_once_and_writes_nothing(
    tmp_path, watched, settings
):
    for one in settings:
        manifest = make_small(tmp_path, one)
    num_rounds = len(settings)
    store = watched(settings[-1])
    assert len(manifest.records) == (8 if num_rounds == 1 else 11)
    assert store.times_read("receipts") == once(
        receipt_path(record.round_index, record.shard_index) for record in manifest.records
    )
    rounds = {path: n for path, n in store.times_read("plan").items() if "round" in path}
    found = {path: n for path, n in rounds.items() if path != round_path(num_rounds)}
    assert found == once(round_path(index) for index in range(num_rounds))
    assert not store.fetches
    assert not +store.writes


def test_with_targets_that_are_met_nothing_is_read_twice_either(tmp_path, watched):
    settings = EIGHT | {"dataset.coverage": TARGETS}
    manifest = make_small(tmp_path, settings)
    assert len(manifest.records) > 8
    store = watched(settings)
    assert store.times_read("receipts") == once(
        receipt_path(record.round_index, record.shard_index) for record in manifest.records
    )
    assert not store.fetches
    assert not +store.writes


def test_receipts_in_snapshots_are_not_read_at_all(tmp_path, watched, monkeypatch):
    monkeypatch.setattr(factory.dataset.receipts, "BLOCK", 4)
    make_small(tmp_path, GROWN)
    store = CountingStore(tmp_path / "out")
    finish_job(store)
    assert set(store.times_read("receipts")) == {receipt_path(0, index) for index in (8, 9)}
    # To find what is there, for the rows of the manifest, for the shards of the preview, and in tests
    # for the types' sake.
    assert max(store.times_read("snapshots").values()) <= 4


def test_a_run_reads_no_receipt_that_it_wrote_itself(tmp_path, watched):
    make_small(tmp_path, EIGHT)
    store = watched(GROWN)
    assert set(store.times_read("receipts")) == {receipt_path(0, index) for index in range(8)}
    assert set(store.times_read("receipts").values()) == {1}


class Dying(CountingStore):
    """A store whose run is killed just before it writes a given file."""

    def __init__(self, root, deadly):
        super().__init__(root)
        self.deadly = deadly

    def replace(self, path, data):
        if path == self.deadly:
            raise KeyboardInterrupt
        super().replace(path, data)


@pytest.mark.slow
@pytest.mark.parametrize("deadly", VIEWS)
def test_views_are_whole_after_the_next_run_wherever_the_last_one_was_killed(tmp_path, deadly):
    root = tmp_path / "out"
    make_small(tmp_path, EIGHT)
    old = views_of(root)
    make_small(tmp_path, GROWN)
    whole = views_of(root)
    assert all(whole[name] != old[name] for name in VIEWS)
    for name, data in old.items():
        (root / name).write_bytes(data)
    with pytest.raises(KeyboardInterrupt):
        finish_job(Dying(root, deadly))
    make_small(tmp_path, GROWN)
    assert views_of(root) == whole


@pytest.mark.slow
@pytest.mark.parametrize("written", [1, 2, 3])
def test_views_are_whole_after_an_older_version_was_killed_between_them(tmp_path, written):
    """It wrote the index, the manifest, the preview and the card, in this order."""
    root = tmp_path / "out"
    make_small(tmp_path, EIGHT)
    old = views_of(root)
    make_small(tmp_path, GROWN)
    whole = views_of(root)
    order = (INDEX_PATH, MANIFEST_PATH, CARD_PICTURE, README_PATH)
    for name in order[written:]:
        (root / name).write_bytes(old[name])
    make_small(tmp_path, GROWN)
    assert views_of(root) == whole


@pytest.mark.slow
@pytest.mark.parametrize("lost", VIEWS)
def test_a_view_that_was_lost_is_written_again(tmp_path, lost):
    root = tmp_path / "out"
    make_small(tmp_path)
    whole = views_of(root)
    (root / lost).unlink()
    make_small(tmp_path)
    assert views_of(root) == whole


def test_what_is_known_of_a_receipt_counts_only_while_it_exists(tmp_path):
    make_small(tmp_path)
    store = CountingStore(tmp_path / "out")
    known = find_state(store)
    store.remove(receipt_path(0, 1))
    store.reads.clear()
    state = find_state(store, known)
    assert state.done == {0, 2}
    assert not store.times_read("receipts")
    finish_job(store, state)
    listed = read_manifest(store.read(MANIFEST_PATH), source="").records
    assert listed == list(state.records)


def test_the_manifest_is_written_last_because_the_card_does_not_tell_every_change(tmp_path):
    make_small(tmp_path)
    store = CountingStore(tmp_path / "out")
    record = find_state(store).records[0]
    changed = record.model_copy(update={"sha256": "0" * 64})
    store.replace(receipt_path(0, 0), encode_record(changed))
    with pytest.raises(KeyboardInterrupt):
        finish_job(Dying(tmp_path / "out", CARD_PICTURE))
    store.writes.clear()
    finish_job(store)
    assert set(store.writes) == set(VIEWS)


def test_views_of_an_overtaken_listing_are_written_again_with_the_other_drivers_shards(tmp_path):
    make_small(tmp_path)
    whole = views_of(tmp_path / "out")
    store = CountingStore(tmp_path / "out")
    state = find_state(store)
    listed_before = DatasetState(state.plan, state.records[:-1])
    assert len(finish_beside_others(store, listed_before).records) == len(state.records)
    assert views_of(tmp_path / "out") == whole


def test_views_are_not_written_again_while_another_driver_is_still_at_work(tmp_path):
    make_small(tmp_path)
    store = CountingStore(tmp_path / "out")
    state = find_state(store)
    store.remove(receipt_path(0, 0))
    listed_before = DatasetState(state.plan, state.records[1:-1])
    assert len(finish_beside_others(store, listed_before).records) == 1
    assert store.writes[MANIFEST_PATH] == 1
