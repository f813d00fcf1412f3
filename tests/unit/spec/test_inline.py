"""Paths of YAML files in a job are replaced by the content, wherever a method's settings lie."""

import copy

import pytest

from factory.errors import JobError
from factory.spec.inline import inline_files


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.yaml"
    path.write_text("tree: abc\nlabels: []\n")
    return str(path)


CONTENT = {"tree": "abc", "labels": []}


def job(segmenter):
    return {"dataset": {"segmenter": segmenter}}


def test_a_path_becomes_its_content(labels):
    document = job({"kind": "klish", "labels": labels})
    inline_files(document)
    assert document == job({"kind": "klish", "labels": CONTENT})


def test_a_teacher_s_path_does_too(labels):
    document = job({"kind": "distil", "teacher": {"kind": "klish", "labels": labels}})
    inline_files(document)
    assert document["dataset"]["segmenter"]["teacher"]["labels"] == CONTENT


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"dataset": "text"},
        job(None),
        job("klish"),
        job({"kind": ["klish"], "labels": "x.yaml"}),
        job({"kind": "my_plugin:Method", "labels": "x.yaml"}),
        job({"kind": "kmeans", "labels": "x.yaml"}),
        job({"kind": "klish", "labels": CONTENT}),
        job({"kind": "klish", "fitted": "tree.safetensors"}),
    ],
)
def test_anything_else_is_left_for_the_check_of_the_job(document):
    before = copy.deepcopy(document)
    inline_files(document)
    assert document == before


def test_a_file_that_is_missing_is_named_with_its_keys(tmp_path):
    with pytest.raises(JobError, match=r"absent\.yaml: cannot read the labels file"):
        inline_files(job({"kind": "klish", "labels": str(tmp_path / "absent.yaml")}))
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(JobError, match="a labels file is a mapping with tree, labels"):
        inline_files(job({"kind": "klish", "labels": str(tmp_path / "list.yaml")}))
