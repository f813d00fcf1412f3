from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_job import small_job

from factory.errors import DamageError, JobError
from factory.plan.identity import make_identity
from factory.plan.rounds import make_plan, read_round
from factory.plan.splits import find_splits, place_shard

USUAL = {"train": 0.9, "val": 0.05, "test": 0.05}


def splits_of(**shares):
    return find_splits({"splits": shares})


def plan_of(tmp_path, overrides, existing=()):
    spec = small_job(tmp_path, overrides)
    return make_plan(spec, make_identity(spec, weights_sha256="", segmenter_sha256=""), existing)


def test_the_usual_shares_hold_out_one_shard_of_twenty_for_each():
    splits = splits_of(**USUAL)
    assert splits.count(20) == {"train": 18, "val": 1, "test": 1}
    assert splits.count(2000) == {"train": 1800, "val": 100, "test": 100}
    held_out = [index for index in range(40) if splits.place(index)[0] != "train"]
    assert held_out == [9, 10, 29, 30], "spread over the dataset, not at its end"


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100), st.integers(1, 400))
def test_each_split_has_its_share_to_within_a_shard_and_numbers_without_gaps(
    train, val, test, num_shards
):
    total = train + val + test
    shares = {"train": train / total, "val": val / total, "test": test / total}
    splits = splits_of(**shares)
    numbers = {"train": [], "val": [], "test": []}
    for index in range(num_shards):
        split, number = splits.place(index)
        numbers[split].append(number)
    for split, found in numbers.items():
        assert found == list(range(len(found)))
        assert abs(len(found) - num_shards * shares[split]) <= 1
    assert {split: len(found) for split, found in numbers.items()} == splits.count(num_shards)


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100))
def test_from_the_least_number_of_shards_on_no_split_is_empty(train, val, test):
    total = train + val + test
    splits = splits_of(train=train / total, val=val / total, test=test / total)
    least = splits.least_shards()
    assert not splits.empty(least)
    assert not splits.empty(least + 7)
    assert least == 1 or splits.empty(least - 1)


def test_a_shard_s_name_tells_its_split_and_is_that_of_no_other():
    splits = splits_of(train=0.5, val=0.25, test=0.25)
    places = [place_shard("cells", index, splits) for index in range(8)]
    assert places == [
        ("cells-000000", "train"), ("cells-test-000000", "test"),
        ("cells-val-000000", "val"), ("cells-000001", "train"),
        ("cells-000002", "train"), ("cells-test-000001", "test"),
        ("cells-val-000001", "val"), ("cells-000003", "train"),
    ]  # fmt: skip
    assert len({name for name, _ in places}) == 8
    assert place_shard("cells", 3, None) == ("cells-000003", "train")


def test_a_dataset_that_grows_moves_no_shard(tmp_path):
    few = {"dataset.splits": USUAL, "dataset.samples_per_shard": 3, "dataset.num_samples": 37}
    first = plan_of(tmp_path, few)
    grown = plan_of(tmp_path, few | {"dataset.num_samples": 200}, first.rounds)
    assert grown.tasks()[: first.num_shards] == first.tasks()
    by_split = Counter(task.split for task in grown.tasks())
    assert by_split == {"train": 62, "val": 3, "test": 3}
    assert [task.first_index for task in grown.tasks()] == sorted(
        task.first_index for task in grown.tasks()
    )


def test_too_few_shards_for_a_split_are_told_with_what_to_do(tmp_path):
    with pytest.raises(JobError) as caught:
        plan_of(tmp_path, {"dataset.splits": USUAL})
    assert str(caught.value) == (
        "dataset.splits: 3 shards leave val and test without a sample; at least 11 shards, because a "
        "shard is in one split as a whole; set dataset.samples_per_shard to at most 1"
    )
    plan_of(tmp_path, {"dataset.splits": USUAL, "dataset.samples_per_shard": 1})


def test_other_splits_are_another_dataset_and_no_splits_are_the_old_one(tmp_path):
    spec = small_job(tmp_path)
    assert "splits" not in make_identity(spec, weights_sha256="", segmenter_sha256="")
    spec = small_job(tmp_path, {"dataset.splits": USUAL})
    assert make_identity(spec, weights_sha256="", segmenter_sha256="")["splits"] == USUAL


def test_splits_of_a_changed_round_are_damage(tmp_path):
    plan = plan_of(tmp_path, {"dataset.splits": USUAL, "dataset.samples_per_shard": 1})
    data = plan.rounds[0].model_dump_json()
    assert read_round(data.encode(), source="r") == plan.rounds[0]
    with pytest.raises(DamageError, match="not a round of a plan"):
        read_round(data.replace('"val":0.05', '"val":0.5').encode(), source="r")
