import pytest
import torch

from factory.segment.style_mixing.foreground import TOO_LARGE, TOO_SMALL, UNCLEAR, find_foreground
from factory.spec.style_mixing import ForegroundSpec

SIDE = 32
RULES = ForegroundSpec()


def disc(radius, y=16.0, x=16.0):
    grid = torch.arange(SIDE) + 0.5
    return ((grid[:, None] - y) ** 2 + (grid - x) ** 2 < radius**2).long()


def test_what_lies_in_the_centre_is_foreground():
    verdict = find_foreground(disc(8), 2, RULES)
    assert verdict.is_foreground == (False, True)
    assert verdict.rejection == ""


def test_both_parts_of_a_thing_in_the_centre_are():
    verdict = find_foreground(disc(10) + disc(5), 3, RULES)
    assert verdict.is_foreground == (False, True, True)


def test_an_empty_cluster_is_background():
    assert find_foreground(disc(8), 4, RULES).is_foreground == (False, True, False, False)


def test_a_cluster_that_owns_the_border_is_background_however_central_it_is():
    ids = disc(9, y=25)
    assert find_foreground(ids, 2, RULES).is_foreground == (False, True)
    strict = ForegroundSpec(max_border_share=0.01)
    assert find_foreground(ids, 2, strict).is_foreground == (False, False)


def test_what_a_thing_owns_of_the_border_weighs_against_its_nearness_to_the_centre():
    any_share = ForegroundSpec(max_border_share=1)
    assert find_foreground(disc(9, y=25), 2, any_share).is_foreground[1]
    assert not find_foreground(disc(9, y=26), 2, any_share).is_foreground[1]
    cross = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    cross[12:20] = 1
    cross[:, 12:20] = 1
    assert find_foreground(cross, 2, any_share).is_foreground == (False, False)


def test_the_prior_reaches_far_enough_for_things_beside_the_centre():
    assert find_foreground(disc(4) + 2 * disc(4, y=5), 3, RULES).is_foreground == (
        False, True, True,
    )  # fmt: skip
    far = find_foreground(disc(4) + 2 * disc(4, y=4), 3, RULES)
    assert far.is_foreground == (False, True, False)


@pytest.mark.parametrize(
    ("ids", "rules", "reason"),
    [
        (disc(2), RULES, TOO_SMALL),
        (disc(8), ForegroundSpec(share=(0.3, 0.9)), TOO_SMALL),
        (disc(8), ForegroundSpec(share=(0, 0.1)), TOO_LARGE),
        (disc(8), ForegroundSpec(min_contrast=2), UNCLEAR),
        (torch.zeros(SIDE, SIDE, dtype=torch.int64), RULES, TOO_SMALL),
    ],
)
def test_a_degenerate_mask_is_rejected_with_its_reason(ids, rules, reason):
    assert find_foreground(ids, 2, rules).rejection == reason


def test_a_wide_image_is_judged_by_shares_of_its_sides():
    ids = torch.zeros(16, 48, dtype=torch.int64)
    ids[4:12, 14:34] = 1
    assert find_foreground(ids, 2, RULES).is_foreground == (False, True)
