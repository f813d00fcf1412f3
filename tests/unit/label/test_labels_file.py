import json
from datetime import UTC, datetime, timedelta

import pytest
from small_label import small_material

from factory.errors import JobError
from factory.label.labels_file import LabelsFile, ReviewRequest, SaveRequest
from factory.segment.tree.labels_file import read_labels_file


def wanted(seen="", count=3):
    tree = small_material().tree
    labels = [
        {"name": f"class {node}", "colour": "#102030", "nodes": [node]}
        for node in tree.flat_cut(count)
    ]
    return SaveRequest.model_validate({"tree": tree.digest(), "labels": labels, "seen": seen})


@pytest.fixture
def file(tmp_path):
    return LabelsFile(tmp_path / "labels.yaml", small_material().tree)


def test_what_is_saved_is_loaded_and_can_be_saved_over(file):
    seen = file.save(wanted())
    assert file.load()["seen"] == seen
    assert len(file.load()["labels"]) == 3
    assert file.save(wanted(seen, count=4)) != seen
    assert len(read_labels_file(file.path).labels) == 4
    assert [path.name for path in file.path.parent.iterdir()] == ["labels.yaml"]


def test_an_older_state_does_not_overwrite(file):
    file.save(wanted())
    before = file.path.read_bytes()
    assert file.save(wanted(count=4)) is None
    assert file.path.read_bytes() == before


def test_a_file_that_is_gone_is_a_change_too(file):
    seen = file.save(wanted())
    file.path.unlink()
    assert file.save(wanted(seen)) is None
    assert not file.path.exists()


def test_names_for_another_tree_are_shown_as_a_problem_and_not_used(file):
    file.save(wanted())
    file.path.write_text(file.path.read_text().replace(file.tree.digest(), "f" * 16))
    found = file.load()
    assert found["labels"] is None
    assert "these names are for another fit" in found["problem"]
    assert found["problem"].endswith("Saving here replaces that file.")
    assert file.save(wanted(found["seen"])) is not None


def test_a_file_that_is_no_yaml_is_a_problem(file):
    file.path.write_text("{")
    assert "not valid YAML" in file.load()["problem"]


def test_a_link_stays_a_link(file, tmp_path):
    elsewhere = tmp_path / "kept" / "names.yaml"
    elsewhere.parent.mkdir()
    file.path.symlink_to(elsewhere)
    file.save(wanted())
    assert file.path.is_symlink()
    assert len(read_labels_file(elsewhere).labels) == 3


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    file = LabelsFile(tmp_path / "none" / "labels.yaml", small_material().tree)
    with pytest.raises(
        JobError, match=r"none/labels.yaml: cannot write \(No such file or directory\)"
    ):
        file.save(wanted())
    folder = LabelsFile(tmp_path, small_material().tree)
    with pytest.raises(JobError, match=r"cannot read \(Is a directory\); give another path"):
        folder.load()


def test_the_loaded_state_is_plain_json(file):
    file.save(wanted())
    assert json.loads(json.dumps(file.load())) == file.load()


def verdict(file, seen, proposed="hole", **changes):
    node = file.tree.flat_cut(3)[0]
    words = {"node": node, "given": f"class {node}", "verdict": "disputed", "proposed": proposed}
    return ReviewRequest.model_validate({"verdicts": [words | changes], "seen": seen})


def test_verdicts_are_kept_beside_the_names_with_who_and_when_also_when_names_are_saved(file):
    seen = file.review(verdict(file, file.save(wanted())), who="anna")
    (review,) = read_labels_file(file.path).reviews
    assert (review.who, review.proposed) == ("anna", "hole")
    assert datetime.now(UTC) - datetime.fromisoformat(review.when) < timedelta(hours=1)
    assert file.load()["disputes"] == [review.model_dump(mode="json")]
    file.save(wanted(file.review(verdict(file, seen, "rim"), who="net")))
    assert [(one.who, one.proposed) for one in read_labels_file(file.path).reviews] == [
        ("anna", "hole"),
        ("net", "rim"),
    ]


def test_a_verdict_about_a_file_that_has_changed_is_not_written(file):
    seen = file.save(wanted())
    file.save(wanted(seen, count=4))
    assert file.review(verdict(file, seen), who="anna") is None
    assert read_labels_file(file.path).reviews == []


def test_a_verdict_about_a_name_that_the_node_does_not_have_is_refused(file):
    with pytest.raises(JobError, match=r"it is 'class [0-9]+': reload the page"):
        file.review(verdict(file, file.save(wanted()), given="other"), who="anna")
    with pytest.raises(JobError, match="'no node of a class'"):
        file.review(verdict(file, file.load()["seen"], node=0), who="anna")
