"""The class of a picture is the one its owner meant, and its number the one its name says."""

import json

import pytest

from factory.errors import JobError
from factory.pack.archives import Member
from factory.train_generator.class_labels import (
    number_classes,
    nvidia_classes,
    read_class,
    read_nvidia_labels,
)


def file(data, name="dataset.json", oddity=""):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Member(name, len(data), 0, lambda: data, oddity)


def refusal(call, *words):
    with pytest.raises(JobError, match=r"^images\.uri: ") as caught:
        call(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nvidia_s_labels_are_the_classes():
    labels = read_nvidia_labels(file({"labels": [["00000/a.png", 1], ["00001/b.png", 10]]}))
    names = ["00001/b.png", "00000/a.png"]
    assert nvidia_classes(labels, names) == {"00001/b.png": "10", "00000/a.png": "1"}


@pytest.mark.parametrize("labels", [None, []])
def test_without_labels_nvidia_s_folders_are_no_classes(labels):
    found = nvidia_classes(
        read_nvidia_labels(file({"labels": labels})), ["00000/a.png", "00001/b.png"]
    )
    assert set(found.values()) == {""}


def test_a_picture_without_a_label_is_named():
    text = refusal(nvidia_classes, {"a.png": "0"}, ["a.png", "b.png"])
    assert "dataset.json has no label for b.png; give it one" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not as NVIDIA's dataset_tool writes it"),
        ([], "not as NVIDIA's dataset_tool writes it"),
        ({}, "not as NVIDIA's dataset_tool writes it"),
        ({"labels": 7}, "not as NVIDIA's dataset_tool writes it"),
        ({"labels": [["a.png"]]}, "not as NVIDIA's dataset_tool writes it"),
        (b"[" * 100_000, "not as NVIDIA's dataset_tool writes it"),
        (
            {"labels": [["a.png", [0.0, 1.0]]]},
            "the label of a.png is [0.0, 1.0]; a class is a number",
        ),
        ({"labels": [["a.png", True]]}, "the label of a.png is True"),
        ({"labels": [["a.png", -1]]}, "the label of a.png is -1"),
        ({"labels": [["a.png", 1.5]]}, "the label of a.png is 1.5"),
        ({"labels": [["a.png", "cat"]]}, "the label of a.png is cat"),
    ],
)
def test_labels_that_are_not_nvidia_s_are_refused(content, words):
    assert words in refusal(read_nvidia_labels, file(content))


def test_labels_in_a_folder_are_for_that_folder():
    text = refusal(read_nvidia_labels, file({"labels": None}, "cells/dataset.json"))
    assert "give cells itself as images.uri" in text


def test_labels_that_are_no_file_are_refused():
    assert "is a link; take it out" in refusal(read_nvidia_labels, file(b"", oddity="a link"))


def test_a_picture_with_two_labels_is_refused():
    twice = {"labels": [["a.png", 1], ["a.png", 0]]}
    assert "a.png has two labels" in refusal(read_nvidia_labels, file(twice))
    assert read_nvidia_labels(file({"labels": [["a.png", 1]] * 2})) == {"a.png": "1"}


def test_labels_that_are_there_twice_are_refused():
    data = b'{"labels": [["a.png", 1]], "labels": null}'
    assert "not as NVIDIA's dataset_tool" in refusal(read_nvidia_labels, file(data))


def test_a_cls_file_is_a_name():
    assert read_class(file(b" cell \n", "a.cls")) == "cell"
    assert "a .cls file holds the name" in refusal(read_class, file(b"x" * 10**6, "a.cls"))
    assert "a.cls is a link" in refusal(read_class, file(b"", "a.cls", "a link"))


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (map(str, range(12)), [str(number) for number in range(12)]),
        (["00010", "00002", "00001"], ["00001", "00002", "00010"]),
        (["10", "9", "a"], ["10", "9", "a"]),
        (["b", "a", "b"], ["a", "b"]),
        (["², ³", "1"], ["1", "², ³"]),
        ([""], [""]),
    ],
)
def test_classes_are_numbered_by_value_if_all_are_numbers(names, ordered):
    assert number_classes(names) == ordered


def test_numbers_that_are_not_those_of_their_classes_are_told(caplog):
    number_classes(["0", "1", "2"])
    assert not caplog.records
    number_classes(["1", "2", "10"])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "first='number 0 is the class named 1'" in record.getMessage()


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "a\u202eb", "\udc80", "x" * 300])
def test_what_cannot_be_printed_is_no_name(name):
    assert "cannot be the name of a class" in refusal(number_classes, ["a", name])
