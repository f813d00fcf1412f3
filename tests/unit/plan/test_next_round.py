"""The planner against a simulated generator: rates are known, receipts are made up from them."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import EACH, MEANING, NAMES, NUCLEUS, World, run, states
from small_job import small_job

from factory.plan.next_round import next_round
from factory.plan.rounds import make_plan
from factory.plan.targets import cover_rounds, judge_targets, measure_progress
from factory.spec.coverage import AreaTarget, CoverageSpec


def test_classes_of_the_generator_come_out_exactly_when_nothing_is_rejected(tmp_path):
    plan, account = run(World((0, 0, 0)), CoverageSpec(min_samples=EACH, budget=5000), tmp_path)
    assert plan.num_samples == 600
    assert len(plan.rounds) == 2
    assert {have for have, _, _ in states(account).values()} == {200}


def test_classes_that_are_rejected_more_often_are_visited_more_often(tmp_path):
    world = World((0, 0, 0), kept=(1.0, 0.5, 0.2))
    plan, account = run(world, CoverageSpec(min_samples=EACH, budget=5000), tmp_path)
    assert {state for _, state, _ in states(account).values()} == {"met"}
    assert plan.num_samples <= 1.15 * 600


def test_a_cycle_of_classes_stays_short_however_many_samples_are_missing(tmp_path):
    wanted = {"round": 100_020, "oval": 300_020, "lobed": 21}
    spec = CoverageSpec(min_samples=wanted, budget=10**6)
    plan = make_plan(small_job(tmp_path, {"dataset.num_samples": 60}), {"a": 1})
    records = [World((0, 0, 0)).make(task) for task in plan.tasks()]
    account = measure_progress(spec, MEANING, plan, cover_rounds(records))
    added = next_round(plan, account, oversample=1.0)
    assert added.num_samples == 400_001
    assert added.steering.classes == {0: 16_384, 1: 49_152, 2: 1}, "as 1 to 3; none is left out"


@pytest.mark.parametrize("oversample", [1.0, 1.5])
def test_shards_of_a_round_are_of_about_one_size_and_as_wide_as_the_job_says(tmp_path, oversample):
    plan = make_plan(small_job(tmp_path, {"dataset.num_samples": 60}), {"a": 1})
    records = [World((0, 0, 0)).make(task) for task in plan.tasks()]
    spec = CoverageSpec(min_samples={"round": 26}, budget=5000)
    account = measure_progress(spec, MEANING, plan, cover_rounds(records))
    added = next_round(plan, account, oversample=oversample)
    assert (added.num_samples, added.oversample) == (6, oversample), "20 of 26 are there"
    assert [task.num_samples for task in added.tasks()] == [3, 3], "not 5 and 1"


@pytest.mark.parametrize("count", [100, 150, 190])
def test_an_area_that_is_rare_by_itself_is_met_without_overshoot(tmp_path, count):
    spec = CoverageSpec(
        min_samples=EACH | {"nucleus": AreaTarget(count=count, min_area=0.2)}, budget=20_000
    )
    plan, account = run(World((0.5, 0.1, 0.0)), spec, tmp_path)
    have = states(account)["nucleus, area >= 20.0%"][0]
    natural = 0.6 / 3 * 600
    assert count <= have <= 1.15 * max(count, natural)
    assert plan.num_samples <= 1.15 * 600
    assert len(plan.rounds) <= 8


@pytest.mark.slow
def test_a_scarce_area_is_found_by_ranking_and_then_by_dropping(tmp_path):
    spec = CoverageSpec(min_samples={"nucleus": NUCLEUS}, budget=60_000)
    plan, account = run(World((0.01, 0.0, 0.0)), spec, tmp_path)
    assert states(account)["nucleus, area >= 20.0%"][:2] == (100, "met")
    steps = [round_.steering for round_ in plan.rounds[1:]]
    assert steps[0].best_by == 1
    assert steps[-1].min_area == {1: 0.2}


def test_a_generator_without_classes_is_steered_by_areas(tmp_path):
    spec = CoverageSpec(min_samples={1: NUCLEUS}, budget=5000)
    plan, account = run(World({-1: 0.2}, {-1: 1.0}, classes=0), spec, tmp_path)
    (have, state, _) = states(account)["1, area >= 20.0%"]
    assert (have, state) == (100, "met")
    assert all(not round_.steering.classes for round_ in plan.rounds[1:])


def test_balance_lifts_the_rarest_class(tmp_path):
    world = World((0, 0, 0), kept=(1.0, 0.4, 1.0))
    _, account = run(world, CoverageSpec(balance=0.9, budget=5000), tmp_path, base=300)
    kept = account.coverage.kept
    assert min(kept.values()) >= 0.9 * max(kept.values())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.floats(0, 1)] * 3),
    st.tuples(*[st.floats(0.2, 1)] * 3),
    st.integers(1, 120),
    st.integers(1, 300),
    st.integers(1, 4000),
    st.integers(3, 8).map(lambda shards: 25 * shards),
    st.none() | st.floats(0, 1),
)
def test_the_planner_ends_within_its_budget_and_says_the_same_twice(
    hits, kept, each, count, budget, base, balance
):
    spec = CoverageSpec(
        min_samples=dict.fromkeys(NAMES, each) | {"nucleus": AreaTarget(count=count, min_area=0.2)},
        balance=balance,
        budget=budget,
    )
    world, nowhere = World(hits, kept), Path("nowhere")
    plan, account = run(world, spec, nowhere, base, oversample=4)
    assert account.left >= 0
    assert run(world, spec, nowhere, base, oversample=4)[0] == plan
    for state in judge_targets(account):
        assert state.state != "open"
    steered = [round_ for round_ in plan.rounds if round_.steering]
    assert sum(r.end_index - r.first_index for r in steered) >= budget - account.left
    assert all(math.isfinite(round_.oversample) for round_ in steered)
