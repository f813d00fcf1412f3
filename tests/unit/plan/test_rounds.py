from copy import deepcopy

import pytest
from small_job import SEGMENTER_KINDS, setting_names, small_document, small_job

from factory.data import Steering
from factory.errors import JobError, StoreError
from factory.plan.rounds import (
    Plan,
    dataset_id_of,
    identity_differences,
    make_identity,
    make_plan,
    read_round,
)
from factory.spec.read import check_job

W, S = "w" * 64, "s" * 64


def plan_of(tmp_path, overrides, existing=()):
    spec = small_job(tmp_path, overrides)
    identity = make_identity(spec, weights_sha256=W, segmenter_sha256=S)
    return make_plan(spec, identity, existing)


def id_of_spec(spec):
    return dataset_id_of(make_identity(spec, weights_sha256=W, segmenter_sha256=S))


def id_of(tmp_path, overrides=None):
    return id_of_spec(small_job(tmp_path, overrides))


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
        "problems); it was changed by hand or written by another version: restore it, or choose "
        "another output.uri"
    )


def test_differences_are_one_line_for_each_leaf(tmp_path):
    ours = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "new": {}}
    theirs = {"a": 1, "b": {"c": [1, 3], "d": "x"}, "old": 0}
    assert identity_differences(ours, theirs) == [
        "b.c: [1, 3] there, [1, 2] in the job",
        "new: 'absent' there, {} in the job",
        "old: 0 there, 'absent' in the job",
    ]
    assert identity_differences(ours, ours) == []


def test_a_leaf_that_is_null_differs_from_one_that_is_absent():
    assert identity_differences({"a": None}, {}) == ["a: 'absent' there, None in the job"]


def test_an_id_is_sixteen_hex_digits_of_the_identity_s_digest(tmp_path):
    assert len(id_of(tmp_path)) == 16
    assert int(id_of(tmp_path), 16) >= 0


def test_other_weights_or_another_fit_are_another_dataset(tmp_path):
    spec = small_job(tmp_path)
    ids = {
        dataset_id_of(make_identity(spec, weights_sha256=w, segmenter_sha256=s))
        for w in ("a", "b")
        for s in ("a", "b")
    }
    assert len(ids) == 4


BASES = {
    "kmeans": {},
    "klish": {"dataset.segmenter": {"kind": "klish"}},
    "style_mixing": {"dataset.segmenter": {"kind": "style_mixing"}},
    "distil": {"dataset.segmenter": {"kind": "distil", "teacher": {"kind": "kmeans"}}},
    "plugin": {"dataset.segmenter": {"kind": "a:b"}},
}
LABELS = {
    "tree": "0" * 16,
    "labels": [{"name": n, "colour": "#123456", "nodes": [i]} for i, n in enumerate("ab")],
}
CHANGES = {
    "name": "other",
    "dataset.samples_per_shard": 4,
    "dataset.oversample": 2.0,
    "dataset.batch_size": 5,
    "dataset.generator.kind": "stylegan2",
    "dataset.generator.precision": "float16",
    "dataset.generator.noise": "none",
    "dataset.latents.seed": 1,
    "dataset.latents.draw": "nvidia_seed",
    "dataset.latents.truncation_psi": 0.5,
    "dataset.latents.truncation_cutoff": 3,
    "dataset.latents.classes": [1],
    "dataset.segmenter[kmeans].kind": "x:y",
    "dataset.segmenter[kmeans].num_clusters": 5,
    "dataset.segmenter[kmeans].layers": ["s8"],
    "dataset.segmenter[kmeans].fit.num_images": 9,
    "dataset.segmenter[kmeans].fit.pixels_per_image": 65,
    "dataset.segmenter[kmeans].fit.seed": 1,
    "dataset.segmenter[klish].kind": "x:y",
    "dataset.segmenter[klish].initial_clusters": 99,
    "dataset.segmenter[klish].cut": 25,
    "dataset.segmenter[klish].labels": LABELS,
    "dataset.segmenter[klish].labels.tree": "1" * 16,
    "dataset.segmenter[klish].labels.labels": [*LABELS["labels"][1:], LABELS["labels"][0]],
    "dataset.segmenter[klish].labels.labels[].name": "c",
    "dataset.segmenter[klish].labels.labels[].colour": "#123457",
    "dataset.segmenter[klish].labels.labels[].nodes": [0, 2],
    "dataset.segmenter[klish].ignore_unclaimed": True,
    "dataset.segmenter[klish].fitted": "cells.safetensors",
    "dataset.segmenter[klish].fit.memory_gib": 1.0,
    "dataset.segmenter[kmeans].fit.memory_gib": 1.0,
    "dataset.segmenter[klish].layers": ["s8"],
    "dataset.segmenter[klish].fit.num_images": 9,
    "dataset.segmenter[klish].fit.pixels_per_image": 65,
    "dataset.segmenter[klish].fit.seed": 1,
    "dataset.segmenter[style_mixing].kind": "x:y",
    "dataset.segmenter[style_mixing].num_variants": 21,
    "dataset.segmenter[style_mixing].variant_psi": 0.8,
    "dataset.segmenter[style_mixing].start": "s8",
    "dataset.segmenter[style_mixing].stop_px": 16,
    "dataset.segmenter[style_mixing].standardise": False,
    "dataset.segmenter[style_mixing].num_clusters": 3,
    "dataset.segmenter[style_mixing].restarts": 4,
    "dataset.segmenter[style_mixing].rounds": 26,
    "dataset.segmenter[style_mixing].refine_px": 3,
    "dataset.segmenter[style_mixing].refine_epsilon": 1e-2,
    "dataset.segmenter[style_mixing].foreground.centre_sigma": 0.4,
    "dataset.segmenter[style_mixing].foreground.border_width": 0.1,
    "dataset.segmenter[style_mixing].foreground.border_weight": 0.5,
    "dataset.segmenter[style_mixing].foreground.max_border_share": 0.4,
    "dataset.segmenter[style_mixing].foreground.share": [0.1, 0.9],
    "dataset.segmenter[style_mixing].foreground.min_contrast": 0.2,
    "dataset.segmenter[style_mixing].classes": {"num_classes": 3},
    "dataset.segmenter[style_mixing].classes.num_classes": 4,
    "dataset.segmenter[style_mixing].classes.layers": ["s8"],
    "dataset.segmenter[style_mixing].classes.num_images": 65,
    "dataset.segmenter[style_mixing].classes.seed": 1,
    "dataset.segmenter[style_mixing].instances": {"min_px": 3},
    "dataset.segmenter[style_mixing].instances.detector": "a:b",
    "dataset.segmenter[style_mixing].instances.sha256": "1" * 64,
    "dataset.segmenter[style_mixing].instances.class_names": ["other"],
    "dataset.segmenter[style_mixing].instances.class_offset": 1,
    "dataset.segmenter[style_mixing].instances.min_score": 0.4,
    "dataset.segmenter[style_mixing].instances.min_px": 3,
    "dataset.segmenter[distil].kind": "x:y",
    "dataset.segmenter[distil].teacher": {"kind": "klish"},
    "dataset.segmenter[distil].samples": 501,
    "dataset.segmenter[distil].drop_share": 0.1,
    "dataset.segmenter[distil].held_out": 0.1,
    "dataset.segmenter[distil].min_agreement": 0.7,
    "dataset.segmenter[distil].pixels_per_image": 255,
    "dataset.segmenter[distil].layers": ["s8"],
    "dataset.segmenter[distil].seed": 1,
    "dataset.segmenter[plugin].kind": "a:c",
    "dataset.segmenter[plugin].settings": {"x": 1},
    "dataset.accept.min_confidence": 0.1,
    "dataset.accept.class_share": {"nucleus": [0.1, 0.9]},
    "dataset.encode.image": "webp",
    "dataset.encode.png_level": 2,
    "dataset.encode.jpeg_quality": 90,
    "dataset.encode.confidence": True,
}
SECTIONS = {
    "dataset.coverage": {"min_samples": {"1": {"count": 3, "min_area": 0.1}}, "budget": 5},
    "dataset.segmenter[klish].labels": LABELS,
    "dataset.segmenter[style_mixing].classes": {"num_classes": 3},
    "dataset.segmenter[style_mixing].instances": {},
}
"""Optional sections, as they are while something inside them changes."""
IGNORED = {
    "dataset.num_samples": 14,
    "dataset.coverage": {"min_samples": {"1": 3}, "budget": 5},
    "dataset.coverage.min_samples": {"2": 3},
    "dataset.coverage.min_samples.*.count": 4,
    "dataset.coverage.min_samples.*.min_area": 0.2,
    "dataset.coverage.balance": 0.5,
    "dataset.coverage.budget": 6,
    "dataset.generator.weights": "elsewhere.safetensors",
    "dataset.generator.sha256": "0" * 64,
    "run.executor": "ray",
    "run.address": "auto",
    "run.num_actors": 3,
    "run.threads_per_actor": 7,
    "run.gpus_per_actor": 0.5,
    "run.encode_threads": 5,
    "run.serve_port": 0,
    "run.shards_per_actor": 7,
    "run.shard_deadline_s": 60.0,
    "output.uri": "/elsewhere",
    "output.single_writer": True,
}


def test_every_setting_either_changes_the_dataset_s_id_or_is_known_not_to():
    assert sorted([*CHANGES, *IGNORED]) == sorted(setting_names())


def base_and_change(folder, setting, value):
    """A job and the same with another value of `setting`."""
    tag = next((tag for tag in SEGMENTER_KINDS if f"[{tag}]" in setting), "kmeans")
    overrides = deepcopy(BASES[tag])
    for section, content in SECTIONS.items():
        if setting.startswith(f"{section}."):
            overrides[section.replace(f"[{tag}]", "")] = deepcopy(content)
    document = small_document(folder, overrides)
    changed = deepcopy(document)
    *parents, last = setting.replace(f"[{tag}]", "").replace("[]", ".[]").split(".")
    place = changed
    for parent in parents:
        if parent == "[]":
            place = place[0]
        elif parent == "*":
            place = next(iter(place.values()))
        else:
            place = place.setdefault(parent, {})
    if setting.endswith("].kind"):
        place.clear()
    place[last] = value
    return [check_job(one, source="x") for one in (document, changed)]


@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_that_decides_bytes_changes_the_id(tmp_path, setting):
    base, changed = base_and_change(tmp_path, setting, CHANGES[setting])
    assert id_of_spec(base) != id_of_spec(changed)


@pytest.mark.parametrize("setting", IGNORED)
def test_a_setting_that_decides_no_byte_leaves_the_id_alone(tmp_path, setting):
    base, changed = base_and_change(tmp_path, setting, IGNORED[setting])
    assert base != changed
    assert id_of_spec(base) == id_of_spec(changed)


def klish(**settings):
    return {"dataset.segmenter": {"kind": "klish"} | settings}


def test_where_a_fitted_file_lies_decides_no_byte(tmp_path):
    assert id_of(tmp_path, klish(fitted="a")) == id_of(tmp_path, klish(fitted="b/c"))
    assert id_of(tmp_path, klish(fitted="a")) != id_of(tmp_path, klish(fitted="a", cut=3))


def test_a_fitted_file_s_identity_does_not_tell_settings_of_another_fit(tmp_path):
    spec = small_job(tmp_path, klish(fitted="a"))
    section = make_identity(spec, weights_sha256=W, segmenter_sha256=S)["segmenter"]
    assert sorted(section) == ["cut", "ignore_unclaimed", "kind", "labels", "sha256"]


def test_another_name_is_told_as_the_one_leaf_that_differs(tmp_path):
    renamed = deepcopy(LABELS)
    renamed["labels"][1]["name"] = "c"
    ours, theirs = (
        make_identity(small_job(tmp_path, klish(labels=v)), weights_sha256=W, segmenter_sha256=S)
        for v in (renamed, LABELS)
    )
    assert identity_differences(ours, theirs) == [
        "segmenter.labels.labels.1.name: 'b' there, 'c' in the job"
    ]


def test_a_plan_without_rounds_is_not_needed_to_count():
    assert Plan("x", ()).num_samples == 0


def test_a_plan_whose_keys_would_not_sort_is_refused(tmp_path):
    big = {
        "dataset.num_samples": 10**9,
        "dataset.samples_per_shard": 10**8,
        "dataset.oversample": 5,
    }
    with pytest.raises(JobError, match=r"dataset\.oversample"):
        plan_of(tmp_path, big)


def test_a_plan_whose_shard_names_would_not_sort_is_refused(tmp_path):
    big = {"dataset.num_samples": 10**6 + 1, "dataset.samples_per_shard": 1}
    with pytest.raises(JobError, match=r"dataset\.samples_per_shard"):
        plan_of(tmp_path, big)
