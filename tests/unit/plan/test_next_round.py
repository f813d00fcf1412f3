"""The planner against a simulated generator: rates are known, receipts are made up from them."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_job import small_job

from factory.errors import JobError
from factory.identity import counter_rng
from factory.manifest.coverage import cover_samples
from factory.manifest.labels import ClassLabel, DatasetLabels
from factory.manifest.measure import UNKNOWN
from factory.plan.next_round import next_round
from factory.plan.rounds import Plan, make_plan
from factory.plan.targets import cover_rounds, find_targets, judge_targets, measure_progress
from factory.spec.coverage import AreaTarget, CoverageSpec
from unit.manifest.test_records import a_record

SIZE = 1000
NAMES = ["round", "oval", "lobed"]
MEANING = DatasetLabels(
    labels=[
        ClassLabel(id=i, name=n, colour=(0, 0, 0)) for i, n in enumerate(["ground", "nucleus"])
    ],
    generator_classes=NAMES,
    attribution="",
    license="",
)
NO_CLASSES = MEANING.model_copy(update={"generator_classes": []})


class World:
    """A generator whose class c shows a nucleus of at least 20 % in a share `hits[c]` of its images,
    and has a share `kept[c]` of them accepted."""

    def __init__(self, hits, kept=(1.0, 1.0, 1.0), classes=3):
        self.hits, self.kept, self.classes = hits, kept, classes

    def make(self, task):
        """What a worker would count while it makes the shard."""
        steering = task.steering
        turn = []
        if steering and steering.classes:
            visits = steering.classes.items()
            turn = [
                c
                for _, c in sorted(((2 * v + 1) / (2 * n), c) for c, n in visits for v in range(n))
            ]
        rows, rejected, pool = [], {}, []
        for index in range(task.first_index, task.first_index + task.num_indices):
            rng = counter_rng("pixels", 9, index)
            label = index % self.classes if self.classes else -1
            if turn:
                label = turn[(task.cycle_offset + index - task.first_index) % len(turn)]
            px = 300 if rng.random() < self.hits[label] else int(rng.integers(1, 150))
            wanted = 0 if not steering else SIZE * steering.min_area.get(1, 0)
            if rng.random() >= self.kept[label] or px < wanted:
                rejected[label] = rejected.get(label, 0) + 1
            else:
                (pool if steering and steering.best_by is not None else rows).append((px, label))
            if len(rows) == task.num_samples:
                break
        ranked = sorted(pool, reverse=True)
        for _, label in ranked[task.num_samples :]:
            rejected[label] = rejected.get(label, 0) + 1
        rows += ranked[: task.num_samples]
        assert rows, f"an empty shard: {task}"
        covered = cover_samples(
            [label for _, label in rows], [(SIZE - px, px) for px, _ in rows], [SIZE] * len(rows),
            [0.5] * len(rows), [UNKNOWN] * len(rows), rejected=rejected, num_generator_classes=3,
        )  # fmt: skip
        return a_record(
            task.shard_index, round_index=task.round_index, num_samples=len(rows), coverage=covered
        )


def run(world, spec, tmp_path, base=60, oversample=1.0):
    """Rounds until the planner has nothing to add; the plan and the account at the end.

    `oversample` is for the first round only: of the others the planner makes sure by itself that no
    shard comes out empty.
    """
    overrides = {
        "dataset.num_samples": base,
        "dataset.samples_per_shard": 25,
        "dataset.oversample": oversample,
    }
    plan = make_plan(small_job(tmp_path, overrides), {"a": 1})
    meaning = MEANING if world.classes else NO_CLASSES
    records = [world.make(task) for task in plan.tasks()]
    for _ in range(40):
        account = measure_progress(spec, meaning, plan, cover_rounds(records))
        added = next_round(plan, account, oversample=1.0)
        if added is None:
            return plan, account
        plan = Plan(plan.dataset_id, (*plan.rounds, added))
        records += [world.make(task) for task in added.tasks()]
    raise AssertionError("it never ends")


def states(account):
    return {state.name: (state.have, state.state, state.why) for state in judge_targets(account)}


NUCLEUS = AreaTarget(count=100, min_area=0.2)
EACH = dict.fromkeys(NAMES, 200)


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


@pytest.mark.parametrize(
    ("world", "spec", "why"),
    [
        (
            World((0.2, 0.2, 0.2)),
            CoverageSpec(min_samples={"nucleus": NUCLEUS}, budget=120),
            r"budget spent: 120 of 120 images",
        ),
        (
            World((0, 0, 0)),
            CoverageSpec(min_samples={"nucleus": NUCLEUS}, budget=50_000),
            r"acceptance too low: not even the best of 2,048 images reach it",
        ),
        (
            World((0, 0, 0), kept=(1.0, 1.0, 0.0)),
            CoverageSpec(min_samples={"lobed": 90}, budget=50_000),
            r"acceptance too low: none of 66 images of this class was kept",
        ),
    ],
)
def test_what_cannot_be_met_says_why(tmp_path, world, spec, why):
    _, account = run(world, spec, tmp_path, base=200)
    (_, state, found) = next(iter(states(account).values()))
    assert (state, found) == ("out of reach", why)


def test_a_mask_class_that_nobody_ever_made_is_out_of_reach_at_once(tmp_path):
    meaning = MEANING.model_copy(
        update={"labels": [*MEANING.labels, ClassLabel(id=2, name="void", colour=(0, 0, 0))]}
    )
    plan = make_plan(small_job(tmp_path, {"dataset.num_samples": 70}), {"a": 1})
    records = [World((0, 0, 0)).make(task) for task in plan.tasks()]
    spec = CoverageSpec(min_samples={"void": 5}, budget=100)
    account = measure_progress(spec, meaning, plan, cover_rounds(records))
    assert judge_targets(account)[0].why == "never produced: none of 70 samples holds this class"
    assert next_round(plan, account, oversample=1.0) is None


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


@pytest.mark.parametrize(
    ("spec", "meaning", "text"),
    [
        (
            CoverageSpec(min_samples={"nucleos": 1}, budget=1),
            MEANING,
            "dataset.coverage.min_samples.nucleos: no such class; the masks and the generator have "
            "ground, nucleus, round, oval, lobed",
        ),
        (
            CoverageSpec(min_samples={7: 1}, budget=1),
            MEANING,
            "dataset.coverage.min_samples.7: no such class; the masks and the generator have "
            "ground, nucleus, round, oval, lobed",
        ),
        (
            CoverageSpec(min_samples={"oval": NUCLEUS}, budget=1),
            MEANING,
            "dataset.coverage.min_samples.oval: a class of the generator has no area; remove "
            "min_area",
        ),
        (
            CoverageSpec(min_samples={"ground": 1}, budget=1),
            MEANING.model_copy(update={"generator_classes": ["ground"]}),
            "dataset.coverage.min_samples.ground: both the masks and the generator have a class of "
            "this name; write the number of the mask class",
        ),
        (
            CoverageSpec(balance=0.5, budget=1),
            NO_CLASSES,
            "dataset.coverage.balance: this generator has no classes; remove the setting",
        ),
    ],
)
def test_targets_that_make_no_sense_are_refused(spec, meaning, text):
    covered = cover_samples(
        [-1], [(5, 5)], [10], [0.5], [UNKNOWN], rejected={}, num_generator_classes=0
    )
    with pytest.raises(JobError) as caught:
        find_targets(spec, meaning, covered)
    assert str(caught.value) == text
