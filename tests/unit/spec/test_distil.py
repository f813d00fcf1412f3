"""Distillation's settings: which methods can teach, and the ranges of its shares."""

import pytest
from pydantic import ValidationError

from factory.spec import METHODS, DistilSpec, KMeansSpec


@pytest.mark.parametrize("kind", ["kmeans", "klish", "style_mixing"])
def test_a_method_that_can_teach_is_accepted(kind):
    assert METHODS[kind].can_teach
    assert DistilSpec(teacher={"kind": kind}).teacher.kind == kind


def test_a_pupil_cannot_teach_itself():
    with pytest.raises(ValidationError, match="teacher"):
        DistilSpec(teacher={"kind": "distil", "teacher": {"kind": "kmeans"}})


def test_what_a_teacher_must_leave_out_is_refused_with_the_reason():
    name, reason = next(iter(METHODS["style_mixing"].not_taught.items()))
    with pytest.raises(ValidationError, match=name):
        DistilSpec(teacher={"kind": "style_mixing", name: {}})
    assert reason


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 9}, {"drop_share": 1}, {"held_out": 0}, {"held_out": 1}, {"min_agreement": 1.1},
     {"pixels_per_image": 0}, {"teachers": {}}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        DistilSpec(teacher=KMeansSpec(), **wrong)
