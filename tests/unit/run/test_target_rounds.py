"""Targets that are met by searching latents: what is made, resumed, replayed, adopted and verified."""

import json
import shutil

import numpy as np
import pytest
from small_job import make_small, small_job

import factory
from factory.care.repair import find_repairs
from factory.care.replay import regenerate_samples, replay_sample
from factory.care.verify import verify_dataset
from factory.dataset.state import find_rounds, find_state, progress_of
from factory.dataset.status import make_status
from factory.plan.search import SEARCH_IMAGES
from factory.run.target_rounds import may_search, plan_for_targets
from factory.store import open_store

CORE = "3, area >= 7.5%"
AREA = 0.075
JOB = {
    "dataset.num_samples": 400,
    "dataset.samples_per_shard": 50,
    "dataset.batch_size": 8,
    "dataset.latents": {"truncation_psi": 0.7},
    "dataset.segmenter": {
        "kind": "kmeans",
        "num_clusters": 4,
        "layers": ["s32"],
        "fit": {"num_images": 32},
    },
}


def with_targets(budget=10_000, **settings):
    target = {"min_samples": {"3": {"count": 16, "min_area": AREA}}, "budget": budget}
    return JOB | {"dataset.coverage": target | settings}


def reached(folder):
    store = open_store(str(folder / "out"))
    state = find_state(store)
    status = make_status(state, [], progress=progress_of(store, state))
    return status["targets"][0], status["budget_left"], state


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The dataset without targets, of which every 200th sample has a large core."""
    folder = tmp_path_factory.mktemp("plain")
    make_small(folder, JOB)
    return folder


@pytest.fixture(scope="module")
def searched(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(plain / "out", folder / "out")
    make_small(folder, with_targets())
    return folder


def digests(folder):
    state = find_state(open_store(str(folder / "out")))
    return {record.path: record.sha256 for record in state.records}


pytestmark = pytest.mark.slow


def test_a_rare_class_is_met_by_search_for_fewer_images_than_by_rejection(
    plain, searched, tmp_path
):
    shares = [(sample.mask == 3).mean() for sample in factory.open_dataset(str(plain / "out"))]
    assert len(shares) / sum(share >= AREA for share in shares) > 50
    target, left, state = reached(searched)
    assert (target["name"], target["state"]) == (CORE, "met")
    assert all(round_.steering.search for round_ in state.plan.rounds[1:])
    spent = 10_000 - left
    shutil.copytree(plain / "out", tmp_path / "out")
    make_small(tmp_path, with_targets(spent, search=False))
    chosen, _, state = reached(tmp_path)
    assert not any(round_.steering.search for round_ in state.plan.rounds[1:])
    assert chosen["state"] == "out of reach", "as many images are not enough"
    assert chosen["why"].startswith(f"budget spent: {spent:,} of {spent:,} images")


def test_samples_say_how_they_were_made_and_those_that_count_have_the_class(searched):
    rows = factory.open_dataset(str(searched / "out")).facts().to_pylist()
    found = [row for row in rows if row["layout"] is not None]
    assert len(found) == len(rows) - 400
    by_key = {row["key"]: row for row in rows}
    for row in found:
        source = by_key[row["layout"]]
        assert source["layout"] is None, "its layout is a sample as the generator draws it"
        assert source["class_px"][3] >= AREA * 1024
        assert (row["forwards"], row["steps"]) == (30, 20)
        assert row["latent_cell"] == -1
    assert sum(row["class_px"][3] >= AREA * 1024 for row in found) >= 14


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(searched, tmp_path):
    shutil.copytree(searched / "out", tmp_path / "out")
    rounds = find_rounds(open_store(str(searched / "out")))
    assert len(rounds) > 2
    last = rounds[-1]
    for task in last.tasks():  # as if the driver had died before the round was planned
        for path in (f"data/train/{task.name}.tar", f"meta/train/{task.name}.parquet"):
            (tmp_path / "out" / path).unlink()
        (tmp_path / f"out/receipts/{last.round_index:04d}/{task.shard_index:06d}.json").unlink()
    (tmp_path / f"out/plan/round-{last.round_index:04d}.json").unlink()
    make_small(tmp_path, with_targets())
    assert digests(tmp_path) == digests(searched)
    assert find_rounds(open_store(str(tmp_path / "out"))) == rounds


def test_shards_that_are_lost_are_made_again_the_layouts_first(searched, tmp_path):
    shutil.copytree(searched / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out/receipts")
    shutil.rmtree(tmp_path / "out/data")
    shutil.rmtree(tmp_path / "out/snapshots", ignore_errors=True)
    make_small(tmp_path, JOB)  # also without the targets: its rounds are planned
    assert digests(tmp_path) == digests(searched)


def test_an_orphan_of_a_search_is_adopted_with_what_its_maker_knew(searched, tmp_path):
    shutil.copytree(searched / "out", tmp_path / "out")
    (receipt,) = (tmp_path / "out/receipts/0001").iterdir()
    before = json.loads(receipt.read_text())
    receipt.unlink()
    make_small(tmp_path, with_targets())
    after = json.loads(receipt.read_text())
    assert after["coverage"] == before["coverage"]
    assert after["sha256"] == before["sha256"]


def test_searched_samples_are_verified_regenerated_and_edited(searched):
    store = open_store(str(searched / "out"))
    assert verify_dataset(store, deep=True).problems == ()
    assert find_repairs(store) == []
    keys = [row["key"] for row in factory.open_dataset(store.uri).facts().to_pylist()][-3:]
    for key in keys:
        again, problems = replay_sample(store, key)
        assert (again.facts.key, problems) == (key, [])
        assert again.facts.layout
    assert regenerate_samples(store, 23)[1] == []
    sample = factory.open_dataset(store.uri)[keys[0]]
    painted = np.full_like(sample.mask, 255)
    painted[:4] = (sample.mask[0, 0] + 1) % 4
    pair = factory.edit_sample(store.uri, keys[0], painted)
    assert np.array_equal(pair.image, sample.image)


def test_every_layout_that_is_wanted_is_of_the_sample_s_own_split(tmp_path):
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    changed = {"dataset.splits": shares, "dataset.samples_per_shard": 25}
    make_small(tmp_path, with_targets() | changed)
    _, _, state = reached(tmp_path)
    assert any(round_.steering and round_.steering.search for round_ in state.plan.rounds)
    layouts = {}
    for split in shares:
        dataset = factory.open_dataset(str(tmp_path / "out"), split=split, near_train=True)
        rows = dataset.facts().to_pylist()
        keys = {row["key"] for row in rows}
        layouts[split] = [row["layout"] for row in rows if row.get("layout") is not None]
        assert keys.issuperset(layouts[split])
    assert sum(map(bool, layouts.values())) > 1, "else this says nothing"
    assert regenerate_samples(open_store(str(tmp_path / "out")), 9)[1] == []


def test_what_cannot_be_searched_is_chosen(tmp_path):
    def asked(overrides=None, **settings):
        changed = with_targets(**settings) | (overrides or {})
        return may_search(small_job(tmp_path, changed).dataset)

    assert asked()
    assert not asked(search=False)
    assert not asked({"dataset.latents": {"draw": "nvidia_seed"}})
    assert not asked({"dataset.segmenter": {"kind": "plugins.mixing_plugins:Parts"}})
    assert asked({"dataset.generator": {"kind": "plugins.batches:Classed"}})
    assert not may_search(small_job(tmp_path, JOB).dataset)


def test_nothing_is_planned_without_targets_or_when_they_are_met(plain, searched):
    for folder, dataset in ((plain, JOB), (searched, with_targets())):
        store = open_store(str(folder / "out"))
        spec = small_job(folder, dataset).dataset
        assert plan_for_targets(spec, store, find_state(store)) is None
    assert SEARCH_IMAGES > 50
