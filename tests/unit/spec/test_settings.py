"""What no setting can be is refused wherever it stands, with the path to it."""

import math
import os

import pytest
from small_job import small_document, small_job

from factory.errors import JobError
from factory.spec import DatasetSpec
from factory.spec.read import check_job, load_job


def problem(tmp_path, path, value):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {path: value})
    head, line = str(caught.value).splitlines()
    assert head == "small_job: 1 problem"
    return line.strip()


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("dataset.latents.classes", [True]),
        ("dataset.latents.classes", {False: 1}),
        ("dataset.latents.classes", {"a": True}),
        ("dataset.accept.class_share", {True: [0, 1]}),
        ("dataset.accept.class_share", {1: [False, 1]}),
        ("dataset.coverage", {"min_samples": {False: 1}, "budget": 9}),
        ("dataset.coverage", {"min_samples": {"a": True}, "budget": 9}),
        ("dataset.num_samples", True),
        ("dataset.segmenter.fit.num_images", True),
        ("dataset.segmenter", {"kind": "klish", "cut": True}),
        ("run.num_actors", True),
        ("name", False),
    ],
)
def test_true_and_false_are_neither_numbers_nor_names(tmp_path, path, section):
    line = problem(tmp_path, path, section)
    assert "found `true`" in line or "found `false`" in line
    assert "quote it" in line


def test_true_and_false_are_what_they_are_where_a_setting_asks_for_them(tmp_path):
    spec = small_job(tmp_path, {"dataset.encode.confidence": True, "output.single_writer": False})
    assert spec.dataset.encode.confidence is True
    assert not spec.output.single_writer


@pytest.mark.parametrize("path", ["dataset.latents.classes", "dataset.accept.class_share"])
@pytest.mark.parametrize("key", [None, 1.5, 2.0])
def test_a_class_is_a_whole_number_or_a_name(tmp_path, path, key):
    assert "a class is an integer or a name" in problem(tmp_path, path, {key: [0, 1]})


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("dataset.latents.classes", {1: 2, "1": 3}),
        ("dataset.accept.class_share", {1: [0, 1], "1": [0, 0.5]}),
        ("dataset.coverage", {"min_samples": {1: 2, "1": 3}, "budget": 9}),
    ],
)
def test_a_class_written_as_number_and_as_text_is_written_twice(tmp_path, path, section):
    assert "class 1 is written twice, as a number and in quotes" in problem(tmp_path, path, section)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("output.uri", "a\0b", "found the control character U+0000 at character 2"),
        ("dataset.generator.weights", "https://h/x\r\nHost: y", "U+000D at character 12"),
        ("dataset.generator.weights", "a\x1b[2J", "U+001B"),
        ("name", "\ud800", "U+D800"),
        ("dataset.num_samples", 10**4000, "found a number of 13288 bits; at most 63"),
        ("dataset.latents.seed", -(2**70), "found a number of 71 bits; at most 63"),
        ("dataset.oversample", math.inf, "found inf; numbers are finite"),
        ("dataset.segmenter", {"kind": "a:b", "settings": {"x": [math.nan]}}, "x.0: found nan"),
        ("dataset.segmenter", {"kind": "a:b", "settings": {"a\0": 1}}, "the key 'a\\x00'"),
    ],
)
def test_values_that_no_setting_can_have_are_named(tmp_path, path, value, words):
    assert words in problem(tmp_path, path, value)


def test_a_name_that_yaml_takes_for_a_number_is_to_be_quoted(tmp_path):
    assert problem(tmp_path, "name", 12).endswith("a valid string; quote it (got 12)")


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_settings_made_in_python_are_finite_too(value):
    with pytest.raises(ValueError, match="finite number"):
        DatasetSpec(
            num_samples=1,
            generator={"kind": "shapes"},
            segmenter={"kind": "kmeans"},
            accept={"min_confidence": value},
        )


def test_a_job_file_s_words_are_names(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "name: on\n"
        "dataset:\n"
        "  num_samples: 1e1\n"
        "  generator: {kind: shapes}\n"
        "  latents: {classes: [no, yes, off, 12:30, 2024-01-01, 3]}\n"
        "  segmenter: {kind: kmeans}\n"
        "  accept: {class_share: {no: [0, 1]}}\n"
        "  coverage: {min_samples: {yes: 3}, budget: 5}\n"
        "output: {uri: no}\n"
    )
    spec = load_job(path)
    assert spec.name == "on"
    assert spec.dataset.num_samples == 10
    assert spec.dataset.latents.classes == ["no", "yes", "off", "12:30", "2024-01-01", 3]
    assert list(spec.dataset.accept.class_share) == ["no"]
    assert list(spec.dataset.coverage.min_samples) == ["yes"]
    assert spec.output.uri == "no"


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_a_job_that_is_no_file_is_refused_at_once(tmp_path, name):
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(JobError, match=r"named pipe; give a file|more than 1,048,576 bytes"):
        load_job(path)


def test_the_document_of_a_job_in_python_is_not_changed(tmp_path):
    document = small_document(tmp_path, {"dataset.latents.classes": None})
    before = repr(document)
    check_job(document, source="here")
    assert repr(document) == before
