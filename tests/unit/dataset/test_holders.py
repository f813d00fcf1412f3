import numpy as np
import pytest
from small_job import make_small

import factory
from factory.data import Steering, TargetSearch
from factory.dataset.holders import find_holders
from factory.dataset.state import DatasetState, find_state
from factory.errors import DamageError
from factory.plan.rounds import Plan
from factory.plan.targets import Target
from factory.store import open_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder, {"dataset.num_samples": 60, "dataset.samples_per_shard": 20})
    store = open_store(str(folder / "out"))
    return store, find_state(store)


def shares_of(store, mask_class):
    masks = [sample.mask for sample in factory.open_dataset(store.uri)]
    return np.array([(mask == mask_class).mean() for mask in masks])


def test_samples_that_count_are_found_and_the_largest_are_taken(made):
    store, state = made
    shares = shares_of(store, 1)
    least = float(np.sort(shares)[-40])
    edge = next(edge for edge in (0.1, 0.05, 0.02, 0.01, 0.001) if edge <= least)
    found = find_holders(store, state, Target("x", 9, mask_class=1, min_area=edge))
    largest = np.argsort(-shares, kind="stable")[:32]
    assert len(found) == 32
    assert sorted(shares[list(found)]) == pytest.approx(sorted(shares[largest]))
    assert list(found) == sorted(found)


def test_no_sample_counts_for_an_area_that_none_has(made):
    store, state = made
    assert find_holders(store, state, Target("x", 9, mask_class=1, min_area=0.9)) == ()


def test_samples_that_were_searched_are_left_out(made):
    store, state = made
    steering = Steering(goal="x", search=TargetSearch(layouts=(0,)))
    searched = state.plan.rounds[0].model_copy(update={"steering": steering})
    all_searched = DatasetState(Plan(state.plan.dataset_id, (searched,)), state.records)
    assert find_holders(store, all_searched, Target("x", 9, mask_class=1)) == ()


def test_a_table_that_is_gone_is_named(tmp_path):
    make_small(tmp_path)
    store = open_store(str(tmp_path / "out"))
    (tmp_path / "out/meta/train/tiny-000000.parquet").unlink()
    with pytest.raises(DamageError, match=r"tiny-000000.parquet: .*missing.*factory repair"):
        find_holders(store, find_state(store), Target("x", 9, mask_class=1))
