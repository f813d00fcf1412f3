"""Steps of growth, without a store."""

import pytest
from small_job import small_job

from factory.errors import JobError
from factory.plan.growth import MOST_SAMPLES, Growth, check_growth, find_step, grow
from factory.plan.identity import make_identity
from factory.plan.rounds import encode_round, make_plan, read_round


def planned(folder, *steps):
    """The rounds after some steps, each a pair of a number of samples and a key."""
    spec = small_job(folder)
    identity = make_identity(spec, weights_sha256="", segmenter_sha256="")
    rounds = ()
    for num_samples, key in steps:
        grown = grow(spec, rounds, Growth(num_samples, key))
        rounds = make_plan(grown, identity, rounds, step=key).rounds
    return rounds


def test_a_step_adds_to_what_is_planned_and_not_to_what_the_job_says(tmp_path):
    spec = small_job(tmp_path)
    assert spec.dataset.num_samples == 13
    assert grow(spec, (), Growth(10)).dataset.num_samples == 10
    rounds = planned(tmp_path, (10, "a"), (7, "b"))
    assert grow(spec, rounds, Growth(3)).dataset.num_samples == 20
    assert [(r.step, r.num_samples, r.first_index) for r in rounds] == [("a", 10, 0), ("b", 7, 10)]


def test_a_named_step_is_planned_once_and_a_nameless_one_each_time(tmp_path):
    assert len(planned(tmp_path, (10, "a"), (10, "a"), (10, "a"))) == 1
    assert len(planned(tmp_path, (10, ""), (10, ""), (10, ""))) == 3


def test_an_old_step_that_is_asked_for_again_does_not_shrink_the_dataset(tmp_path):
    rounds = planned(tmp_path, (10, "a"), (10, "b"))
    assert grow(small_job(tmp_path), rounds, Growth(10, "a")).dataset.num_samples == 20
    assert find_step(rounds, "a") is rounds[0]
    assert find_step(rounds, "") is None


def test_a_step_with_another_size_is_refused(tmp_path):
    rounds = planned(tmp_path, (10, "a"))
    with pytest.raises(
        JobError, match="planned with 10 samples, and this asks for 11; use another"
    ):
        grow(small_job(tmp_path), rounds, Growth(11, "a"))


def test_without_growth_the_job_is_unchanged(tmp_path):
    spec = small_job(tmp_path)
    assert grow(spec, planned(tmp_path, (10, "a")), None) is spec


def test_a_dataset_that_would_be_too_large_is_refused(tmp_path):
    rounds = planned(tmp_path, (10, "a"))
    with pytest.raises(JobError, match="would have 1,000,000,001 samples; at most 1,000,000,000"):
        grow(small_job(tmp_path), rounds, Growth(MOST_SAMPLES - 9))


@pytest.mark.parametrize("number", [0, -1, MOST_SAMPLES + 1])
def test_a_step_adds_something_that_is_possible(number):
    with pytest.raises(JobError, match=r"dataset\.num_samples: found .*; a dataset grows by \+1"):
        check_growth(number, None)


@pytest.mark.parametrize("key", ["", " ", "a b", "-x", "a/b", "x" * 65, "ä", "a\n"])
def test_a_key_is_a_name(key):
    with pytest.raises(JobError, match=r"--once: found .*letters, digits"):
        check_growth(1, key)


def test_dates_and_times_are_keys():
    for key in ("2026-11-29", "2026-11-29T02:00:00+01:00", "nightly_7", "v1.2"):
        assert check_growth(1, key) == Growth(1, key)


def test_a_key_without_growth_is_refused():
    assert check_growth(None, None) is None
    with pytest.raises(JobError, match="nothing that is to be done once"):
        check_growth(None, "2026-11-29")


def test_a_round_without_a_step_is_written_as_before_there_were_steps(tmp_path):
    (nameless,) = planned(tmp_path, (10, ""))
    assert b"step" not in encode_round(nameless)
    assert nameless.schema_version == 1
    (named,) = planned(tmp_path, (10, "a"))
    assert named.schema_version == 2
    for round_ in (nameless, named):
        assert read_round(encode_round(round_), source="") == round_
