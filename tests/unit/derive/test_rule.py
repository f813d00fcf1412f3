import numpy as np
import pytest

from factory.dataset.near_train import find_repeats
from factory.derive.rule import Rule, check_rule, parse_area
from factory.errors import JobError


@pytest.mark.parametrize("text", ["nucleus", "nucleus=", "=0..1", "nucleus=a..b", "nucleus=0.1"])
def test_a_range_that_is_none_is_told_with_an_example(text):
    with pytest.raises(JobError, match=r"such as 'nucleus=0.05..0.6'"):
        parse_area(text)


def test_a_range_may_be_open_at_either_end_and_a_name_may_have_an_equals_sign():
    assert parse_area("nucleus=0.05..0.6") == ("nucleus", (0.05, 0.6))
    assert parse_area("a=b=..0.6") == ("a=b", (0.0, 0.6))
    assert parse_area("nucleus=0.1..") == ("nucleus", (0.1, 1.0))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Rule(min_confidence=1.5), "--min-confidence: found 1.5; 0 to 1"),
        (Rule(min_agreement=-0.5), "--min-agreement: found -0.5; 0 to 1"),
        (Rule(area={"a": (0.5, 0.2)}), "--area: found a=0.5..0.2"),
        (Rule(area={"a": (0.5, 2.0)}), "--area: found a=0.5..2"),
        (Rule(min_confidence=float("nan")), "--min-confidence: found nan"),
    ],
)
def test_limits_that_are_no_shares_are_told(rule, told):
    with pytest.raises(JobError) as caught:
        check_rule(rule)
    assert str(caught.value).startswith(told)


def test_of_a_chain_of_repeats_those_near_a_kept_one_are_dropped():
    """0 and 1 are near, 1 and 2 are near, 0 and 2 are not: 2 stays, because 1 does not."""
    chain = np.array([0, 0b1111, 0b11111111, 0, 2**63], dtype=np.uint64)
    assert find_repeats(chain) == {1, 3, 4}
    assert find_repeats(np.zeros(0, dtype=np.uint64)) == set()
