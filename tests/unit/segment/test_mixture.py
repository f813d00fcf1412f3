import pytest
import torch
from trees import a_tree

from factory.segment.tree.mixture import _parts, measure_parts, top_two


def test_where_a_part_would_go_is_who_is_next_at_its_pixels():
    """Leaf 1 of class 6 (1 + 2) lies between leaves of class 5; node 0 is a leaf."""
    orders = [[1, 3, 2]] * 70 + [[1, 2, 0]] * 30 + [[2, 1, 0]] * 50 + [[0, 3, 1]] * 60
    scores = torch.zeros(8, len(orders))
    for pixel, order in enumerate(orders):
        scores[order, pixel] = torch.tensor([3.0, 2, 1])
    found = measure_parts(a_tree(), [[5], [6], [0]], scores)
    assert [(part.node, part.under) for part in found[1]] == [(2, 6), (1, 6)]
    second = found[1][1]
    assert (second.share, second.own, second.other, second.to_other) == pytest.approx(
        (100 / 150, 0.3, 0, 0.7)
    )
    assert second.is_foreign
    assert not found[1][0].is_foreign
    assert found[2] == [], "a leaf has no parts"
    assert second.describe("rim") == (
        "mixes: 1, a part of node 6, has 67% of its pixels and is nearer to rim, where 70% of them "
        "would go if it were not split off: see its pictures on the page of `factory label`, and split "
        "it off if it is something else"
    )


def test_a_part_is_foreign_if_most_of_its_pixels_would_go_to_one_other_class():
    going = torch.tensor([[400.0, 500, 100], [300, 600, 100], [4, 20, 0]])
    found = _parts([(7, 9), (8, 9), (3, 3)], going, 0)
    assert [part.is_foreign for part in found] == [False, True, False], "half; most; too few to say"
    assert [(part.node, part.under, part.other) for part in found] == [
        (7, 9, 1),
        (8, 9, 1),
        (3, 3, 1),
    ]
    assert found[1].own == pytest.approx(0.3)
    assert found[1].to_other == pytest.approx(0.6)
    assert _parts([(3, 3)], going[:1], 0) == [], "one leaf has no parts"


def test_the_two_best_are_told_in_order_and_of_equal_ones_the_first():
    torch.manual_seed(0)
    scores = torch.randint(0, 5, (6, 3, 4, 4)).float()
    winner, runner_up, lead = top_two(iter(scores))
    assert torch.equal(winner.long(), scores.argmax(dim=0))
    without = scores.scatter(0, winner[None].long(), -torch.inf)
    assert torch.equal(runner_up.long(), without.argmax(dim=0))
    assert torch.equal(lead, scores.amax(dim=0) - without.amax(dim=0))
