import pytest
from small_job import small_job

from factory.data import Steering
from factory.errors import JobError, StoreError
from factory.plan.identity import make_identity
from factory.plan.rounds import Plan, make_plan, read_round

W, S = "w" * 64, "s" * 64


def plan_of(tmp_path, overrides, existing=()):
    spec = small_job(tmp_path, overrides)
    identity = make_identity(spec, weights_sha256=W, segmenter_sha256=S)
    return make_plan(spec, identity, existing)


def test_thirteen_samples_in_shards_of_five_are_two_full_shards_and_one_of_three(tmp_path):
    tasks = plan_of(tmp_path, {}).tasks()
    assert [task.num_samples for task in tasks] == [5, 5, 3]
    assert [task.first_index for task in tasks] == [0, 5, 10]
    assert [task.name for task in tasks] == ["tiny-000000", "tiny-000001", "tiny-000002"]
    assert {task.round_index for task in tasks} == {0}


def test_oversampling_widens_each_shard_s_range_and_not_its_size(tmp_path):
    tasks = plan_of(tmp_path, {"dataset.oversample": 1.7}).tasks()
    assert [task.num_samples for task in tasks] == [5, 5, 3]
    assert [task.num_indices for task in tasks] == [9, 9, 6], "8.5 and 5.1, rounded up"
    assert [task.first_index for task in tasks] == [0, 9, 18]


def test_an_exact_multiple_has_no_empty_last_shard(tmp_path):
    tasks = plan_of(tmp_path, {"dataset.num_samples": 10}).tasks()
    assert [task.num_samples for task in tasks] == [5, 5]


def test_a_grown_dataset_keeps_its_round_and_gains_another_behind_it(tmp_path):
    first = plan_of(tmp_path, {})
    grown = plan_of(tmp_path, {"dataset.num_samples": 19}, first.rounds)
    assert grown.rounds[0] == first.rounds[0]
    assert grown.tasks()[:3] == first.tasks()
    added = grown.tasks()[3:]
    assert [(t.shard_index, t.first_index, t.num_samples) for t in added] == [
        (3, 13, 5),
        (4, 18, 1),
    ]
    assert {task.round_index for task in added} == {1}
    assert grown.num_samples == 19
    assert grown.dataset_id == first.dataset_id


def test_planning_the_same_again_adds_nothing(tmp_path):
    first = plan_of(tmp_path, {})
    assert plan_of(tmp_path, {}, first.rounds) == first


def test_growth_counts_plain_rounds_and_comes_after_those_for_coverage(tmp_path):
    first = plan_of(tmp_path, {}).rounds[0]
    steered = first.model_copy(
        update={
            "round_index": 1,
            "first_shard": first.num_shards,
            "first_index": first.end_index,
            "num_samples": 7,
            "steering": Steering(goal="nucleus", classes={0: 2, 2: 1}),
        }
    )
    assert plan_of(tmp_path, {}, (first, steered)).rounds == (first, steered)
    grown = plan_of(tmp_path, {"dataset.num_samples": 16}, (first, steered)).rounds[2]
    assert (grown.num_samples, grown.first_index) == (3, steered.end_index)
    assert grown.steering is None
    assert read_round(steered.model_dump_json().encode(), source="x") == steered
    tasks = list(steered.tasks())
    assert [task.cycle_offset for task in tasks] == [0, 5]
    assert all(task.steering == steered.steering for task in tasks)


def test_shrinking_is_refused_with_what_to_do(tmp_path):
    first = plan_of(tmp_path, {})
    with pytest.raises(JobError) as caught:
        plan_of(tmp_path, {"dataset.num_samples": 12}, first.rounds)
    assert str(caught.value) == (
        "dataset.num_samples: found 12, but 13 are already planned in this output; a dataset only "
        "grows: set it to 13 or more, or choose another output.uri"
    )


def test_without_leaves_the_shards_that_are_not_done(tmp_path):
    plan = plan_of(tmp_path, {})
    assert [task.shard_index for task in plan.without({0, 2})] == [1]
    assert plan.without(set()) == plan.tasks()


def test_a_round_file_gives_its_round_back(tmp_path):
    round_ = plan_of(tmp_path, {"dataset.oversample": 1.5}).rounds[0]
    assert read_round(round_.model_dump_json().encode(), source="x") == round_


def test_a_damaged_round_file_is_told_with_its_name():
    with pytest.raises(StoreError) as caught:
        read_round(b'{"name": 3}', source="out/plan/round-0000.json")
    assert str(caught.value).startswith("out/plan/round-0000.json: not a round of a plan (")
    assert str(caught.value).endswith(
        "problems); it was changed by hand: restore it, or choose another output.uri"
    )


def test_a_plan_without_rounds_is_not_needed_to_count():
    assert Plan("x", ()).num_samples == 0


def test_a_plan_whose_keys_would_not_sort_is_refused(tmp_path):
    big = {
        "dataset.num_samples": 10**9,
        "dataset.samples_per_shard": 10**6,
        "dataset.oversample": 5,
    }
    with pytest.raises(JobError, match=r"dataset\.oversample"):
        plan_of(tmp_path, big)


def test_a_plan_whose_shard_names_would_not_sort_is_refused(tmp_path):
    big = {"dataset.num_samples": 10**6 + 1, "dataset.samples_per_shard": 1}
    with pytest.raises(JobError, match=r"dataset\.samples_per_shard"):
        plan_of(tmp_path, big)


def test_a_place_that_the_plan_does_not_have_is_no_task(tmp_path):
    first = plan_of(tmp_path, {})
    plan = plan_of(tmp_path, {"dataset.num_samples": 19}, first.rounds)
    tasks = plan.tasks()
    assert [plan.task(t.round_index, t.shard_index) for t in tasks] == tasks
    for place in [(0, -1), (0, 3), (1, 2), (1, 5), (2, 5), (-1, 0)]:
        assert plan.task(*place) is None, place


def test_nvidia_s_seeds_may_be_used_up_to_the_last_one(tmp_path):
    drawn = {"dataset.latents.draw": "nvidia_seed"}
    assert plan_of(tmp_path, drawn | {"dataset.latents.seed": 2**32 - 13}).num_samples == 13
    with pytest.raises(JobError, match=r"seeds up to 4,294,967,296 .*they end at 4,294,967,295"):
        plan_of(tmp_path, drawn | {"dataset.latents.seed": 2**32 - 12})
