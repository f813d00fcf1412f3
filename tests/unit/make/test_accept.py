import numpy as np
import pytest

from factory.data import Sample
from factory.errors import JobError
from factory.make.accept import AcceptRules, find_rules, reason_to_drop
from factory.segment.palette import unnamed_labels
from factory.spec import AcceptSpec

LABELS = tuple(
    label.model_copy(update={"name": name})
    for label, name in zip(unnamed_labels(3), ("ground", "nucleus", "rim"), strict=True)
)


def a_sample(confidence=0.5, shares=(50, 30, 20)):
    """A sample of 100 pixels."""
    mask = np.repeat(np.arange(len(shares)), shares).astype(np.uint8).reshape(10, 10)
    return Sample(0, np.zeros((10, 10, 3), np.uint8), mask, -1, confidence, tuple(shares))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({}, None),
        ({"min_confidence": 0.5}, None),
        ({"min_confidence": 0.500001}, "confidence"),
        ({"class_share": {1: (0.3, 0.3)}}, None),
        ({"class_share": {1: (0.31, 1)}}, "class_1_too_small"),
        ({"class_share": {1: (0, 0.29)}}, "class_1_too_large"),
        ({"class_share": {2: (0.5, 1), 0: (0, 0.4)}}, "class_0_too_large"),
        ({"min_confidence": 0.9, "class_share": {0: (0.9, 1)}}, "confidence"),
    ],
)
def test_the_first_broken_rule_is_the_reason(rules, reason):
    assert reason_to_drop(a_sample(), find_rules(AcceptSpec(**rules), LABELS)) == reason


def test_a_class_that_is_absent_has_no_share():
    sample = a_sample(shares=(100, 0))
    assert reason_to_drop(sample, AcceptRules(0.0, {1: (0.01, 1.0)})) == "class_1_too_small"
    assert reason_to_drop(sample, AcceptRules(0.0, {1: (0.0, 0.0)})) is None


def test_a_class_is_found_by_its_name_or_its_number_even_as_json_writes_it():
    spec = AcceptSpec.model_validate_json('{"class_share": {"nucleus": [0, 0.5], "0": [0.1, 1]}}')
    assert find_rules(spec, LABELS) == AcceptRules(0.0, {0: (0.1, 1.0), 1: (0.0, 0.5)})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (3, "found class 3; the segmenter has classes 0 to 2: ground, nucleus, rim"),
        ("core", "found class core; the segmenter has classes 0 to 2: ground, nucleus, rim"),
    ],
)
def test_a_class_that_the_masks_do_not_have_is_refused(written, text):
    with pytest.raises(JobError) as caught:
        find_rules(AcceptSpec(class_share={written: (0, 1)}), LABELS)
    assert str(caught.value) == f"dataset.accept.class_share: {text}"


def test_a_class_under_its_name_and_its_number_is_refused():
    with pytest.raises(JobError) as caught:
        find_rules(AcceptSpec(class_share={"rim": (0, 1), 2: (0, 1)}), LABELS)
    assert str(caught.value) == (
        "dataset.accept.class_share: found class 2, which stands there twice, as 2 and as rim; leave "
        "one of them out"
    )
