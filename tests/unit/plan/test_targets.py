import pytest
from simulated import MEANING, NO_CLASSES, NUCLEUS, World, run, states
from small_job import small_job

from factory.errors import JobError
from factory.manifest.coverage import cover_samples
from factory.manifest.labels import MaskClass
from factory.manifest.measure import UNKNOWN
from factory.plan.next_round import next_round
from factory.plan.rounds import make_plan
from factory.plan.targets import cover_rounds, find_targets, judge_targets, measure_progress
from factory.spec.coverage import CoverageSpec


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


@pytest.mark.parametrize(("made", "state"), [(63, "open"), (64, "out of reach")])
def test_a_class_is_given_up_after_64_images_without_it(tmp_path, made, state):
    meaning = MEANING.model_copy(
        update={"labels": [*MEANING.labels, MaskClass(id=2, name="void", colour=(0, 0, 0))]}
    )
    plan = make_plan(small_job(tmp_path, {"dataset.num_samples": made}), {"a": 1})
    covered = cover_rounds([World((0, 0, 0)).make(task) for task in plan.tasks()])
    spec = CoverageSpec(min_samples={"void": 5}, budget=100)
    assert judge_targets(measure_progress(spec, meaning, plan, covered))[0].state == state


def test_a_mask_class_that_nobody_ever_made_is_out_of_reach_at_once(tmp_path):
    meaning = MEANING.model_copy(
        update={"labels": [*MEANING.labels, MaskClass(id=2, name="void", colour=(0, 0, 0))]}
    )
    plan = make_plan(small_job(tmp_path, {"dataset.num_samples": 70}), {"a": 1})
    records = [World((0, 0, 0)).make(task) for task in plan.tasks()]
    spec = CoverageSpec(min_samples={"void": 5}, budget=100)
    account = measure_progress(spec, meaning, plan, cover_rounds(records))
    assert judge_targets(account)[0].why == "never produced: none of 70 samples holds this class"
    assert next_round(plan, account, oversample=1.0) is None


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
