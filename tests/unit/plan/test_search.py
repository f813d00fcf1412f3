"""Searched or chosen: the planner against receipts whose numbers are made up."""

import pytest
from simulated import MEANING, NUCLEUS
from small_job import small_job

from factory.data import Steering, TargetSearch
from factory.manifest.coverage import cover_samples
from factory.manifest.measure import UNKNOWN
from factory.plan.next_round import next_round
from factory.plan.rounds import Plan, Round, find_ready, make_plan
from factory.plan.search import SEARCH_IMAGES, choose_way, cost_of_search, size_search
from factory.plan.targets import judge_targets, measure_progress
from factory.spec.coverage import CoverageSpec

SIZE = 1000
NAME = "nucleus, area >= 20.0%"


def covered(made, hits):
    """Coverage of `made` images that are all kept, `hits` of them with a large nucleus."""
    px = [300] * hits + [100] * (made - hits)
    return cover_samples(
        [0] * made, [(SIZE - one, one) for one in px], [SIZE] * made, [0.5] * made,
        [UNKNOWN] * made, rejected={}, num_generator_classes=1,
    )  # fmt: skip


def a_round(plan, steering, num_samples):
    last = plan.rounds[-1]
    added = Round(
        dataset_id=last.dataset_id, name=last.name, round_index=last.round_index + 1,
        first_shard=last.first_shard + last.num_shards, first_index=last.end_index,
        num_samples=num_samples, samples_per_shard=num_samples, oversample=1.0,
        identity=last.identity, steering=steering,
    )  # fmt: skip
    return Plan(plan.dataset_id, (*plan.rounds, added))


def account(tmp_path, plain, searched=None, budget=100_000, wanted=NUCLEUS, splits=None):
    """Plan and progress after `plain` images, and a round that was searched; both as (made, hits)."""
    overrides = {"dataset.num_samples": plain[0], "dataset.samples_per_shard": 100}
    identity = {"a": 1} if splits is None else {"a": 1, "splits": splits}
    plan = make_plan(small_job(tmp_path, overrides), identity)
    by_round = {0: covered(*plain)}
    if searched is not None:
        steering = Steering(goal=NAME, best_by=1, search=TargetSearch(layouts=(3,)))
        plan = a_round(plan, steering, searched[0])
        by_round[1] = covered(*searched)
    spec = CoverageSpec(min_samples={"nucleus": wanted}, budget=budget)
    return plan, measure_progress(spec, MEANING, plan, by_round)


def added(tmp_path, plain, searched=None, *, holders=(3, 9), **settings):
    plan, progress = account(tmp_path, plain, searched, **settings)
    return next_round(plan, progress, oversample=1.0, find_holders=lambda _: holders)


def test_a_step_counts_as_three_images():
    assert TargetSearch(layouts=(0,), candidates=5, steps=4).images_each == 5 + 12 + 2
    assert SEARCH_IMAGES == 8 + 3 * 20 + 2


def test_the_cheaper_way_is_chosen_and_rejection_where_neither_is_known():
    assert choose_way(100.0, 99.0) == "search"
    assert choose_way(100.0, 100.0) == "rejection"
    assert (
        choose_way(100.0, None) == choose_way(None, 70.0) == choose_way(None, None) == "rejection"
    )
    assert cost_of_search(8, 4) == 2 * SEARCH_IMAGES
    assert cost_of_search(8, 0) is None


def test_a_class_that_is_rarer_than_a_search_is_searched_in_a_small_round_first(tmp_path):
    found = added(tmp_path, (2000, 4))
    assert found.steering.search == TargetSearch(layouts=(3, 9))
    assert found.steering.best_by == 1, "the largest are kept, so that no shard comes out empty"
    assert (found.num_samples, found.end_index - found.first_index) == (8, 8)
    assert found.schema_version == 2


@pytest.mark.parametrize(
    "plain", [(2000, 40), (600, 9), (100, 1)], ids=["frequent", "in doubt", "one of few"]
)
def test_what_rejection_gives_for_fewer_images_is_not_searched(tmp_path, plain):
    assert added(tmp_path, plain).steering.search is None


def test_without_layouts_nothing_is_searched(tmp_path):
    assert added(tmp_path, (2000, 4), holders=()).steering.search is None
    plan, progress = account(tmp_path, (2000, 4))
    assert next_round(plan, progress, oversample=1.0).steering.search is None
    _, nothing = account(tmp_path, (2000, 0))
    assert size_search(nothing, nothing.targets[0], 5, hits=0, made=2000) is None


def test_a_split_is_searched_once_a_sample_of_its_own_has_the_layout(tmp_path):
    splits = {"train": 0.5, "val": 0.25, "test": 0.25}
    plan, _ = account(tmp_path, (2000, 4), splits=splits)
    inside = {}
    for task in plan.tasks():
        inside.setdefault(task.split, task.first_index)
    found = added(tmp_path, (2000, 4), splits=splits, holders=tuple(inside.values()))
    (split,) = {task.split for task in found.tasks()}
    assert found.steering.search is not None
    for held, index in inside.items():
        found = added(tmp_path, (2000, 4), splits=splits, holders=(index,))
        assert (found.steering.search is not None) == (held == split)


def test_a_trial_that_costs_more_than_rejection_does_in_all_is_left_out(tmp_path):
    assert added(tmp_path, (2000, 98)).steering.search is None
    few = NUCLEUS.model_copy(update={"count": 5})
    assert added(tmp_path, (2000, 4), wanted=few).steering.search is None


def test_what_a_search_took_is_measured_and_decides(tmp_path):
    found = added(tmp_path, (2000, 4), (8, 4))
    assert found.steering.search is not None
    missing = 100 - 4 - 4
    assert found.num_samples == missing
    searched = found.end_index - found.first_index
    assert 2 * missing <= searched <= 2.3 * missing, "half of them succeed"
    assert added(tmp_path, (2000, 4), (8, 1)).steering.search is None, "560 images, and 333 drawn"
    assert added(tmp_path, (2000, 4), (8, 0)).steering.search is None


def test_searches_count_in_the_budget_as_what_they_take(tmp_path):
    _, progress = account(tmp_path, (2000, 4), (8, 4))
    assert progress.left == 100_000 - 8 * SEARCH_IMAGES
    assert progress.ranked_made == {}
    assert progress.by_search[NAME].num_made == 8
    assert judge_targets(progress)[0].have == 8


@pytest.mark.parametrize("budget", [560, 700, 3333, 6000])
def test_a_round_that_is_searched_keeps_to_the_budget(tmp_path, budget):
    found = added(tmp_path, (2000, 4), (8, 4), budget=budget + 560)
    if found.steering.search is None:
        return
    assert (found.end_index - found.first_index) * SEARCH_IMAGES <= budget
    assert found.num_samples >= 1


def test_a_budget_below_one_search_goes_to_images_and_then_ends_as_ever(tmp_path):
    found = added(tmp_path, (2000, 4), budget=SEARCH_IMAGES - 1)
    assert found.steering.search is None
    assert found.end_index - found.first_index <= SEARCH_IMAGES - 1
    plan, progress = account(tmp_path, (2000, 4), (8, 4), budget=560)
    assert next_round(plan, progress, oversample=1.0, find_holders=lambda _: (3,)) is None
    (state,) = judge_targets(progress)
    assert (state.state, state.why) == ("out of reach", "budget spent: 560 of 560 images")


def test_shards_of_a_search_have_enough_samples_where_many_are_rejected(tmp_path):
    plan, progress = account(tmp_path, (2000, 4), (8, 4))
    half = progress.unsteered.model_copy(update={"made": {0: 4000}})
    rejecting = type(progress)(
        **{name: getattr(progress, name) for name in progress.__slots__} | {"unsteered": half}
    )
    found = next_round(plan, rejecting, oversample=1.0, find_holders=lambda _: (3,))
    assert found.steering.search is not None
    assert min(task.num_indices for task in found.tasks()) >= 50, "e^-25 that all are rejected"


def test_a_search_waits_for_the_shards_whose_masks_it_wants(tmp_path):
    plan, _ = account(tmp_path, (300, 4), (8, 4))  # its layout is sample 3, of the first shard
    missing = plan.without({1})
    assert [task.shard_index for task in find_ready(plan, missing, {1})] == [0, 2]
    assert [task.shard_index for task in find_ready(plan, missing, {0, 1})] == [0, 2, 3]
    assert plan.owner_of(299).shard_index == 2
    assert plan.owner_of(300).shard_index == 3
    assert plan.owner_of(308) is None
