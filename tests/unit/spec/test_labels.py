import pytest
from pydantic import ValidationError

from factory.spec.labels import LabelsSpec

WHEN = "2026-01-02T03:04:05+00:00"


def labels(*reviews, second="cell"):
    """Ground of nodes 0 and 5, and a second class of node 6; reviews are (who, node, given, what)."""
    return LabelsSpec.model_validate(
        {
            "tree": "0" * 16,
            "labels": [
                {"name": "ground", "colour": "#000000", "nodes": [0, 5]},
                {"name": second, "colour": "#ffffff", "nodes": [6]},
            ],
            "reviews": [
                {"who": who, "when": WHEN, "node": node, "given": given}
                | (
                    {"verdict": what}
                    if what in {"confirmed", "kept"}
                    else {"verdict": "disputed", "proposed": what}
                )
                for who, node, given, what in reviews
            ],
        }
    )


def open_disputes(found):
    return [(review.who, review.node, review.proposed) for review in found.find_disputes()]


def test_a_dispute_is_open_until_the_node_has_another_name():
    dispute = ("anna", 6, "cell", "hole")
    assert open_disputes(labels(dispute)) == [("anna", 6, "hole")]
    assert open_disputes(labels(dispute, second="hole")) == []
    assert open_disputes(labels(("anna", 7, "cell", "hole"))) == [], (
        "no class has this node any more"
    )


def test_of_one_reviewer_s_verdicts_the_latest_counts_and_another_s_changes_nothing():
    first = ("anna", 6, "cell", "hole")
    assert open_disputes(labels(first, ("anna", 6, "cell", "confirmed"))) == []
    assert open_disputes(labels(first, ("anna", 6, "cell", "rim"))) == [("anna", 6, "rim")]
    assert open_disputes(labels(first, ("net", 6, "cell", "confirmed"))) == [("anna", 6, "hole")]


def test_the_namer_keeps_a_name_against_all_disputes_so_far_and_not_against_later_ones():
    both = [("anna", 6, "cell", "hole"), ("net", 6, "cell", "rim"), ("net", 5, "ground", "rim")]
    assert open_disputes(labels(*both, ("namer", 6, "cell", "kept"))) == [("net", 5, "rim")]
    again = [*both, ("namer", 6, "cell", "kept"), ("anna", 6, "cell", "hole")]
    assert open_disputes(labels(*again)) == [("net", 5, "rim"), ("anna", 6, "hole")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": "disputed"}, "a disputed name has a proposed one"),
        ({"verdict": "kept", "proposed": "hole"}, "no other verdict has one"),
        ({"verdict": "disputed", "proposed": "cell"}, "give another name"),
        ({"verdict": "disputed", "proposed": "<b>"}, "a name is words of letters"),
        ({"verdict": "confirmed", "who": "<script>"}, "a name is words of letters"),
        ({"verdict": "confirmed", "when": "soon"}, "Invalid isoformat"),
        ({"verdict": "perhaps"}, "Input should be"),
    ],
)
def test_a_verdict_that_says_nothing_clear_is_refused(changes, words):
    review = {"who": "anna", "when": WHEN, "node": 6, "given": "cell"} | changes
    plain = labels().model_dump()
    with pytest.raises(ValidationError, match=words):
        LabelsSpec.model_validate(plain | {"reviews": [review]})


def test_a_name_that_is_too_long_is_told_in_characters():
    with pytest.raises(ValidationError, match="at most 64 characters"):
        labels(second="a" * 5000)
