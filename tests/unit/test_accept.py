import numpy as np
import pytest

from factory.accept import reason_to_drop
from factory.data import Sample
from factory.spec import AcceptSpec


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
    assert reason_to_drop(a_sample(), AcceptSpec(**rules)) == reason


def test_a_class_that_is_absent_has_no_share():
    sample = a_sample(shares=(100, 0))
    assert reason_to_drop(sample, AcceptSpec(class_share={1: (0.01, 1)})) == "class_1_too_small"
    assert reason_to_drop(sample, AcceptSpec(class_share={1: (0, 0)})) is None
