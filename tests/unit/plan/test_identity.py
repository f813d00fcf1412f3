from copy import deepcopy
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import BaseModel, Field
from small_job import SEGMENTER_KINDS, setting_names, small_document, small_job

from factory.errors import JobError
from factory.plan.identity import (
    dataset_id_of,
    identity_differences,
    identity_of,
    make_identity,
)
from factory.spec import DatasetSpec, EncodeSpec
from factory.spec.check import check_settings
from factory.spec.read import check_job
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import IdentityFields, Settings
from factory.spec.style_mixing import StyleMixingSpec

W, S = "w" * 64, "s" * 64


def id_of_spec(spec):
    return dataset_id_of(make_identity(spec, weights_sha256=W, segmenter_sha256=S))


def id_of(tmp_path, overrides=None):
    return id_of_spec(small_job(tmp_path, overrides))


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


PAINTED = [{"name": "a"}, {"name": "b"}]
BASES = {
    "kmeans": {},
    "klish": {"dataset.segmenter": {"kind": "klish"}},
    "style_mixing": {"dataset.segmenter": {"kind": "style_mixing"}},
    "distil": {"dataset.segmenter": {"kind": "distil", "teacher": {"kind": "kmeans"}}},
    "linear": {
        "dataset.segmenter": {"kind": "linear", "annotations": "painted", "classes": PAINTED}
    },
    "direction": {"dataset.segmenter": {"kind": "direction"}},
    "alpha": {"dataset.segmenter": {"kind": "alpha", "images": "real"}},
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
    "dataset.generator.settings": {"seen": 1},
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
    "dataset.segmenter[klish].merging": "published",
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
    "dataset.segmenter[direction].kind": "x:y",
    "dataset.segmenter[direction].masks": "light",
    "dataset.segmenter[direction].space": "w",
    "dataset.segmenter[direction].light": "light.pth",
    "dataset.segmenter[direction].dark": "dark.pth",
    "dataset.segmenter[direction].steps": 301,
    "dataset.segmenter[direction].images_per_step": 33,
    "dataset.segmenter[direction].learning_rate": 0.01,
    "dataset.segmenter[direction].radius": 3.0,
    "dataset.segmenter[direction].radius_spread": 0.6,
    "dataset.segmenter[direction].min_radius": 0.2,
    "dataset.segmenter[direction].centre_weight": 3.0,
    "dataset.segmenter[direction].edge_weight": 11.0,
    "dataset.segmenter[direction].seed": 1,
    "dataset.segmenter[direction].epsilon": 6.0,
    "dataset.segmenter[direction].foreground_share": [0.0, 0.7],
    "dataset.segmenter[direction].min_part": 0.3,
    "dataset.segmenter[direction].two_modes": "published",
    "dataset.segmenter[direction].min_roundness": 0.03,
    "dataset.segmenter[direction].min_overlap": 0.9,
    "dataset.segmenter[style_mixing].kind": "x:y",
    "dataset.segmenter[style_mixing].num_variants": 21,
    "dataset.segmenter[style_mixing].variant_psi": 0.8,
    "dataset.segmenter[style_mixing].start": "s8",
    "dataset.segmenter[style_mixing].stop_px": 16,
    "dataset.segmenter[style_mixing].num_clusters": 3,
    "dataset.segmenter[style_mixing].refine_px": 3,
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
    "dataset.segmenter[alpha].kind": "x:y",
    "dataset.segmenter[alpha].images": "elsewhere",
    "dataset.segmenter[alpha].network": "550000.pt",
    "dataset.segmenter[alpha].preset": "cat/paper",
    "dataset.segmenter[alpha].steps": 3,
    "dataset.segmenter[alpha].images_per_step": 12,
    "dataset.segmenter[alpha].learning_rate": 0.1,
    "dataset.segmenter[alpha].adversarial_weight": 2.0,
    "dataset.segmenter[alpha].mask_weight": 4.0,
    "dataset.segmenter[alpha].background_weight": 5.0,
    "dataset.segmenter[alpha].least_foreground": 0.1,
    "dataset.segmenter[alpha].least_background": 0.2,
    "dataset.segmenter[alpha].foreground_psi": 0.6,
    "dataset.segmenter[alpha].silenced": "constant",
    "dataset.segmenter[alpha].symmetry": "none",
    "dataset.segmenter[alpha].threshold": 0.5,
    "dataset.segmenter[alpha].weights": "last",
    "dataset.segmenter[alpha].seed": 1,
    "dataset.segmenter[linear].kind": "x:y",
    "dataset.segmenter[linear].annotations": "elsewhere",
    "dataset.segmenter[linear].extractor": "X_LSE.pth",
    "dataset.segmenter[linear].classes": ["a", "b", "c"],
    "dataset.segmenter[linear].classes[].name": "c",
    "dataset.segmenter[linear].classes[].colour": "#123457",
    "dataset.segmenter[linear].layers": ["s8"],
    "dataset.segmenter[linear].layer_weights": "softplus",
    "dataset.segmenter[linear].loss": "focal",
    "dataset.segmenter[linear].layer_loss": 0.1,
    "dataset.segmenter[linear].class_weights": "balanced",
    "dataset.segmenter[linear].bias": True,
    "dataset.segmenter[linear].other": "a",
    "dataset.segmenter[linear].rare_px": 33,
    "dataset.segmenter[linear].epochs": 51,
    "dataset.segmenter[linear].steps_per_epoch": 129,
    "dataset.segmenter[linear].learning_rate": 0.01,
    "dataset.segmenter[linear].lower_after": 21,
    "dataset.segmenter[linear].redraw_noise": False,
    "dataset.segmenter[linear].folds": 3,
    "dataset.segmenter[linear].patience": 11,
    "dataset.segmenter[linear].seed": 1,
    "dataset.segmenter[plugin].kind": "a:c",
    "dataset.segmenter[plugin].settings": {"x": 1},
    "dataset.sampling": {"kind": "layout", "layouts": "wanted"},
    "dataset.sampling.method": "ranked",
    "dataset.sampling.candidates": 101,
    "dataset.sampling.steps": 51,
    "dataset.sampling.latents": "per_layer",
    "dataset.sampling.learning_rate": 0.02,
    "dataset.sampling.stay": 0.1,
    "dataset.sampling.prior": 0.1,
    "dataset.agreement": {"others": [{"method": {"kind": "kmeans"}}]},
    "dataset.agreement.others": [{"method": {"kind": "kmeans"}}],
    "dataset.agreement.others[].method": {"kind": "kmeans", "num_clusters": 3},
    "dataset.accept.min_agreement": 0.5,
    "dataset.compose": {"background": "other_sample"},
    "dataset.compose.classes": [2],
    "dataset.edit": {"change": "shrink", "of": 1},
    "dataset.edit.change": "shift",
    "dataset.edit.of": 2,
    "dataset.edit.to": 0,
    "dataset.edit.by_px": 4,
    "dataset.edit.steps": 51,
    "dataset.edit.latents": "shared",
    "dataset.edit.learning_rate": 0.02,
    "dataset.edit.stay": 0.1,
    "dataset.edit.prior": 0.1,
    "dataset.accept.min_confidence": 0.1,
    "dataset.accept.class_share": {"nucleus": [0.1, 0.9]},
    "dataset.splits": {"train": 0.5, "test": 0.5},
    "dataset.encode.image": "webp",
    "dataset.encode.png_level": 2,
    "dataset.encode.jpeg_quality": 90,
    "dataset.encode.confidence": True,
    "dataset.encode.alpha": True,
}
CLEAN = {
    "": {"keep": "central"},
    ".classes": [2],
    ".smooth": 1,
    ".fill_holes": True,
    ".border_objects": "drop",
    ".min_area": 9,
    ".keep": "central",
}
"""The clean-up that every method has."""
CHANGES |= {
    f"dataset.segmenter[{tag}].clean{name}": value
    for tag in SEGMENTER_KINDS
    for name, value in CLEAN.items()
}
CHANGES |= {f"dataset.segmenter[{tag}].confidence": "agreement" for tag in SEGMENTER_KINDS}
REVIEW = {
    "node": 0,
    "given": "a",
    "verdict": "disputed",
    "proposed": "b",
    "who": "Ada",
    "when": "2026-11-27T00:00:00+00:00",
}
OTHERS = {"others": [{"method": {"kind": "direction"}}]}
SECTIONS = {
    "dataset.coverage": {"min_samples": {"1": {"count": 3, "min_area": 0.1}}, "budget": 5},
    "dataset.segmenter[klish].labels": LABELS | {"reviews": [REVIEW]},
    "dataset.segmenter[style_mixing].classes": {"num_classes": 3},
    "dataset.segmenter[style_mixing].instances": {},
    "dataset.sampling": {"kind": "layout", "dataset": "out/cells"},
    "dataset.compose": {"background": "folder", "folder": "rooms", "classes": [1]},
    "dataset.agreement": OTHERS,
    "dataset.edit": {"change": "shrink", "of": 1},
} | {f"dataset.segmenter[{tag}].clean": {"keep": "largest"} for tag in SEGMENTER_KINDS}
"""Optional sections, as they are while something inside them changes."""
NEEDS = {"dataset.agreement": "dataset.accept.min_agreement"}
"""Sections that a setting elsewhere needs."""
OF_MASKS = {
    f"dataset.edit.{name}": {"dataset.edit": {"masks": "m", "dataset": "d"}}
    for name in ("masks", "dataset")
}
"""These settings are about masks, and have no place beside a rule."""
REVIEWS = "dataset.segmenter[klish].labels.reviews"
IGNORED = {
    "beside": "elsewhere",
    "dataset.num_samples": 14,
    REVIEWS: [REVIEW | {"verdict": "confirmed", "proposed": None}],
    f"{REVIEWS}[].node": 1,
    f"{REVIEWS}[].given": "c",
    f"{REVIEWS}[].proposed": "c",
    f"{REVIEWS}[].who": "Grace",
    f"{REVIEWS}[].when": "2026-11-28T00:00:00+00:00",
    "dataset.coverage": {"min_samples": {"1": 3}, "budget": 5},
    "dataset.coverage.min_samples": {"2": 3},
    "dataset.coverage.min_samples.*.count": 4,
    "dataset.coverage.min_samples.*.min_area": 0.2,
    "dataset.coverage.balance": 0.5,
    "dataset.coverage.budget": 6,
    "dataset.coverage.search": False,
    "dataset.sampling.layouts": "elsewhere",
    "dataset.sampling.dataset": "elsewhere",
    "dataset.sampling.num_layouts": 101,
    "dataset.sampling.seed": 1,
    "dataset.compose.folder": "elsewhere",
    "dataset.edit.masks": "elsewhere",
    "dataset.edit.dataset": "elsewhere",
    "dataset.generator.weights": "elsewhere.safetensors",
    "dataset.generator.sha256": "0" * 64,
    "dataset.segmenter[linear].memory_gib": 1.0,
    "run.executor": "ray",
    "run.address": "auto",
    "run.num_actors": 3,
    "run.threads_per_actor": 7,
    "run.gpus_per_actor": 0.5,
    "run.encode_threads": 5,
    "run.serve_port": 0,
    "run.max_actors": 3,
    "run.resources": {"a100": 1.0},
    "run.notify": "https://127.0.0.1/hook",
    "run.push_metrics": "http://127.0.0.1:9091",
    "run.tensorboard": "board",
    "run.mlflow": "runs",
    "run.shards_per_actor": 7,
    "run.shard_deadline_s": 60.0,
    "output.uri": "/elsewhere",
    "output.single_writer": True,
}


TOGETHER = [
    f"{REVIEWS}[].verdict",
    "dataset.sampling.kind",
    "dataset.compose.background",
    *(f"dataset.splits.{split}" for split in ("train", "val", "test")),
]
"""Cannot change alone; they change with the section that they are in."""


def test_every_setting_either_changes_the_dataset_s_id_or_is_known_not_to():
    assert sorted([*CHANGES, *IGNORED, *TOGETHER]) == sorted(setting_names())


def base_and_change(folder, setting, value):
    """A job and the same with another value of `setting`."""
    tag = next((tag for tag in SEGMENTER_KINDS if f"[{tag}]" in setting), "kmeans")
    overrides = deepcopy(BASES[tag] | OF_MASKS.get(setting, {}))
    for section, content in SECTIONS.items():
        is_needed = setting.startswith(f"{section}.") or setting == NEEDS.get(section)
        if is_needed and section not in overrides:
            overrides[section.replace(f"[{tag}]", "")] = deepcopy(content)
    if setting.endswith(("].light", "].dark")):  # a file for the only direction of the masks
        overrides["dataset.segmenter"]["masks"] = setting.rpartition(".")[2]
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
    if setting.endswith(
        ("].kind", "].extractor", "].network")
    ):  # what stands beside them would not fit
        place.clear()
        place["kind"] = tag
    if setting == "dataset.sampling.layouts":
        del place["dataset"]
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


def test_other_edited_masks_are_another_dataset_and_a_rule_has_none(tmp_path):
    masks = small_job(tmp_path, {"dataset.edit": {"masks": "m", "dataset": "d"}})
    rule = small_job(tmp_path, {"dataset.edit": {"change": "grow", "of": 1}})
    found = {
        one: [
            make_identity(spec, weights_sha256=W, segmenter_sha256=S, layouts_sha256=one)["edit"]
            for spec in (masks, rule)
        ]
        for one in ("a", "b")
    }
    assert found["a"][0]["layouts_sha256"] == "a" != found["b"][0]["layouts_sha256"]
    assert found["a"][1] == found["b"][1]


def test_other_layouts_are_another_dataset_and_where_they_lie_is_not(tmp_path):
    spec = small_job(tmp_path, {"dataset.sampling": {"kind": "layout", "layouts": "wanted"}})
    ids = {
        dataset_id_of(make_identity(spec, weights_sha256=W, segmenter_sha256=S, layouts_sha256=one))
        for one in ("a", "b")
    }
    assert len(ids) == 2


def test_other_backgrounds_are_another_dataset_and_those_of_other_samples_too(tmp_path):
    folder = {"background": "folder", "folder": "rooms", "classes": [1]}
    specs = [
        small_job(tmp_path, {"dataset.compose": compose})
        for compose in (folder, folder, {"background": "other_sample", "classes": [1]})
    ]
    ids = {
        dataset_id_of(
            make_identity(spec, weights_sha256=W, segmenter_sha256=S, backgrounds_sha256=digest)
        )
        for spec, digest in zip(specs, ("a", "b", "a"), strict=True)
    }
    assert len(ids) == 3


def test_where_files_of_other_methods_lie_is_not_part_of_the_id_and_what_came_of_them_is(tmp_path):
    ids = {
        dataset_id_of(
            make_identity(
                small_job(
                    tmp_path,
                    {
                        "dataset.agreement": {
                            "others": [{"method": {"kind": "alpha", "images": images}}]
                        }
                    },
                ),
                weights_sha256=W,
                segmenter_sha256=S,
                opinions_sha256=digest,
            )
        )
        for images, digest in (("a", "x"), ("b", "x"), ("a", "y"))
    }
    assert len(ids) == 2


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


class GrownEncode(EncodeSpec):
    """How images become files, as a later version might have it."""

    identity_fields = replace(EncodeSpec.identity_fields, later={"alpha": False, "avif_speed": 6})
    avif_speed: int = 6


def with_encode(folder, encode):
    spec = small_job(folder)
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"encode": encode})})


def test_a_setting_added_later_leaves_every_id_alone_until_somebody_sets_it(tmp_path):
    assert id_of_spec(with_encode(tmp_path, GrownEncode())) == id_of(tmp_path)
    assert id_of_spec(with_encode(tmp_path, GrownEncode(avif_speed=6))) == id_of(tmp_path)
    assert id_of_spec(with_encode(tmp_path, GrownEncode(avif_speed=7))) != id_of(tmp_path)


def test_a_default_that_changed_since_is_another_dataset_than_before(tmp_path):
    class Changed(GrownEncode):
        avif_speed: int = 9

    assert id_of_spec(with_encode(tmp_path, Changed())) != id_of(tmp_path)
    assert id_of_spec(with_encode(tmp_path, Changed(avif_speed=6))) == id_of(tmp_path)


class Part(Settings):
    identity_fields = IdentityFields(("x",), later={"y": None})
    x: float = 1
    y: int | None = None


class Whole(Settings):
    identity_fields = IdentityFields(
        ("parts", "by_class"), later={"extra": {"x": 1.0}}, left_out=("folder",)
    )
    parts: list[Part] = Field([Part(), Part(y=2)])
    by_class: dict[int | str, tuple[float, float]] = Field({3: (0.0, 1.0)})
    extra: Part = Part()
    folder: str = "here"


def test_sections_inside_lists_and_mappings_follow_their_own_lists():
    assert identity_of(Whole()) == {
        "parts": [{"x": 1.0}, {"x": 1.0, "y": 2}],
        "by_class": {"3": [0.0, 1.0]},
    }
    assert identity_of(Whole(extra=Part(y=3)))["extra"] == {"x": 1.0, "y": 3}


def test_a_removed_setting_stays_in_at_the_value_that_is_built_in():
    class Shrunk(Settings):
        identity_fields = IdentityFields(("x",), gone={"rounds": 25})
        x: int = 1

    assert identity_of(Shrunk()) == {"x": 1, "rounds": 25}
    assert Shrunk.model_validate({"x": 2, "rounds": 25}) == Shrunk(x=2)
    with pytest.raises(JobError) as caught:
        check_settings(Shrunk, {"rounds": 26}, source="job.yaml")
    assert str(caught.value) == (
        "job.yaml: 1 problem\n  rounds: found 26, but this setting is gone and always 25 now; leave it "
        "out; a dataset made with another value can be read here, and only a version that has the "
        "setting can make more of it"
    )


def test_true_is_not_the_1_that_is_built_in():
    class Shrunk(Settings):
        identity_fields = IdentityFields((), gone={"one": 1, "yes": True})

    assert Shrunk.model_validate({"one": 1, "yes": True}) == Shrunk()
    for value in ({"one": True}, {"yes": 1}):
        with pytest.raises(JobError, match="is gone"):
            check_settings(Shrunk, value, source="job.yaml")


def test_the_settings_of_a_plugin_s_class_without_a_list_are_all_part():
    class Own(MethodSettings):
        a: int = 1
        b: Part = Part()

    assert identity_of(Own(kind="x:y")) == {"kind": "x:y", "a": 1, "b": {"x": 1.0}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            replace(GrownEncode.identity_fields, later={"alpha": False}),
            "the new setting 'avif_speed' is not in `identity_fields`: put it into `later` with the "
            "value that means what was done before, or into `left_out` if it changes no byte; in "
            "`first` it would make every existing dataset another one",
        ),
        (
            replace(GrownEncode.identity_fields, left_out=("webp_effort",)),
            "`identity_fields` lists 'webp_effort', which is no setting any more: move it to `gone` "
            "with the value that is built in now",
        ),
        (
            replace(GrownEncode.identity_fields, gone={"image": "png"}),
            "`identity_fields` lists 'image' twice: leave one out",
        ),
    ],
)
def test_a_class_cannot_be_made_with_a_setting_that_its_list_forgets(fields, message):
    with pytest.raises(TypeError) as caught:

        class Forgetful(EncodeSpec):
            identity_fields = fields
            avif_speed: int = 6

    assert str(caught.value).endswith(f"Forgetful: {message}")


def classes_in(annotation: Any) -> set[type[BaseModel]]:
    """The settings classes that an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in get_args(annotation) for found in classes_in(part)}


def test_every_settings_class_that_decides_bytes_has_a_list():
    seen, pending = set(), {DatasetSpec, *SEGMENTER_KINDS.values()}
    while pending:
        seen |= pending
        fields = [
            field
            for model in pending
            for name, field in model.model_fields.items()
            if name not in (model.identity_fields or IdentityFields(())).left_out
        ]
        pending = {found for field in fields for found in classes_in(field.annotation)} - seen
    without = {model.__name__ for model in seen if model.identity_fields is None}
    assert without == {"MethodSettings"}, (
        "give each of these classes `identity_fields`: all its settings in `first`, if no dataset has "
        "been made with it yet"
    )
    assert len(seen) >= 16


def test_a_stored_job_that_names_what_is_built_in_now_is_the_same_job(tmp_path):
    named = {
        "kind": "style_mixing",
        "restarts": 3,
        "rounds": 25,
        "standardise": True,
        "refine_epsilon": 0.001,
        "foreground": {"centre_sigma": 0.5, "border_width": 1 / 32, "border_weight": 1},
    }
    spec = small_job(tmp_path, {"dataset.segmenter": named})
    assert spec.dataset.segmenter == StyleMixingSpec()
    assert id_of_spec(spec) == id_of(tmp_path, {"dataset.segmenter": {"kind": "style_mixing"}})


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"restarts": 5}, "restarts: found 5, but this setting is gone and always 3 now"),
        (
            {"standardise": False},
            "standardise: found False, but this setting is gone and always True",
        ),
        (
            {"foreground": {"border_weight": 0}},
            "foreground.border_weight: found 0, but this setting is gone and always 1.0 now",
        ),
    ],
)
def test_a_removed_setting_at_another_value_is_refused_in_one_line_with_its_path(
    tmp_path, section, line
):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": {"kind": "style_mixing", **section}})
    head, *problems = str(caught.value).splitlines()
    assert head == "small_job: 1 problem"
    assert len(problems) == 1
    assert problems[0].startswith(f"  dataset.segmenter.{line}")
    assert "leave it out" in problems[0]
