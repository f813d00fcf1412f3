import re

import pytest
from small_job import small_job

import factory.spec
from factory.errors import JobError
from factory.spec import METHODS, DatasetSpec, KMeansSpec
from factory.spec.segmenters import settings_class, summarise


def test_settings_know_their_kind_and_keep_it_when_only_what_was_set_is_written():
    spec = KMeansSpec(num_clusters=4)
    assert spec == KMeansSpec(kind="kmeans", num_clusters=4)
    assert spec.model_dump(exclude_unset=True) == {"kind": "kmeans", "num_clusters": 4}
    dataset = {"num_samples": 1, "generator": {"kind": "shapes"}}
    whole = DatasetSpec.model_validate({**dataset, "segmenter": spec})
    again = DatasetSpec.model_validate_json(whole.model_dump_json(exclude_unset=True))
    assert again == whole
    assert again.segmenter == spec


def test_a_job_file_must_name_the_kind(tmp_path):
    with pytest.raises(JobError, match=r"dataset\.segmenter\.kind: missing, and required"):
        small_job(tmp_path, {"dataset.segmenter": {"num_clusters": 4}})


def test_a_teacher_that_is_no_teacher_is_told_which_kinds_are(tmp_path):
    teacher = {"kind": "distil", "teacher": {"kind": "kmeans"}}
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": {"kind": "distil", "teacher": teacher}})
    assert str(caught.value).splitlines()[1] == (
        "  dataset.segmenter.teacher.kind: input should be one of kmeans, klish, linear, "
        "style_mixing, direction, alpha, module:attribute (got 'distil')"
    )


@pytest.mark.parametrize("kind", METHODS)
def test_every_settings_class_is_found_at_the_door_and_says_what_its_method_is(kind):
    own = settings_class(kind)
    assert getattr(factory.spec, own.__name__) is own
    assert summarise(kind).endswith(".")


def test_a_name_that_no_method_has_is_not_at_the_door():
    with pytest.raises(AttributeError, match="has no attribute 'NoSpec'"):
        _ = factory.spec.NoSpec


def test_a_name_alone_is_the_method_with_its_defaults(tmp_path):
    short = small_job(tmp_path, {"dataset.segmenter": "kmeans"})
    assert short == small_job(tmp_path, {"dataset.segmenter": {"kind": "kmeans"}})
    taught = small_job(tmp_path, {"dataset.segmenter": {"kind": "distil", "teacher": "kmeans"}})
    assert taught.dataset.segmenter.teacher == KMeansSpec()
    other = {"others": [{"method": "kmeans"}]}
    assert (
        small_job(tmp_path, {"dataset.agreement": other}).dataset.agreement.others[0].method
        == KMeansSpec()
    )


def test_a_name_alone_stands_in_the_schema_and_is_written_out_in_a_stored_job(tmp_path):
    spec = small_job(tmp_path, {"dataset.segmenter": "kmeans"})
    assert spec.model_dump(mode="json", exclude_unset=True)["dataset"]["segmenter"] == {
        "kind": "kmeans"
    }
    (alone,) = (
        one
        for one in DatasetSpec.model_json_schema()["properties"]["segmenter"]["oneOf"]
        if one.get("type") == "string"
    )
    assert re.fullmatch(alone["pattern"], "kmeans")
    assert not re.fullmatch(alone["pattern"], "k means")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("kmeens", r"dataset\.segmenter\.kind: .*did you mean 'kmeans'"),
        ("", r"dataset\.segmenter\.kind: string should match pattern"),
        (7, r"dataset\.segmenter: input should be a mapping of settings \(got 7\)"),
    ],
)
def test_what_names_no_method_is_refused(tmp_path, wrong, told):
    with pytest.raises(JobError, match=told):
        small_job(tmp_path, {"dataset.segmenter": wrong})
