import pytest
import torch

from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.suggest import suggest_cuts


def tree(*figures):
    """A tree whose merges, from fine to coarse, have these (cluster IoU, similarity)."""
    leaves = len(figures) + 2
    history, alive = [], list(range(leaves))
    for merge, (iou, alike) in enumerate(figures):
        first, second = alive.pop(), alive.pop()
        alive.append(leaves + merge)
        history.append([first, second, iou, alike])
    nodes = 2 * leaves - 2
    return Hierarchy(
        torch.zeros(nodes, 3),
        torch.ones(nodes, dtype=torch.int64),
        torch.tensor(history).view(-1, 4),
        torch.ones(leaves - 1),
    )


def test_the_cut_before_the_first_hard_merge_is_suggested():
    found = suggest_cuts(tree((0.6, 0.4), (0.7, 0.3), (0.8, 0.25), (0.99, 0.01), (0.995, 0.009)))
    assert found.num_classes == 4
    assert [count for count, _ in found.ranked] == [4, 3, 6, 5]
    assert found.ranked[0][1] == pytest.approx(3.2088 + 3.2189, abs=1e-3)
    assert found.shares[0] == pytest.approx((3.2088, 3.2189), abs=1e-3)


def test_one_good_merge_among_bad_ones_is_no_structure():
    found = suggest_cuts(tree((0.6, 0.4), (0.998, 0.002), (0.6, 0.4), (0.99, 0.01)))
    assert found.num_classes == 3
    assert dict(found.ranked)[5] == 0


def test_clusters_that_are_none_are_no_reason_to_stop():
    found = suggest_cuts(tree((0.0, 0.5), (0.4, 0.5), (0.9, 0.2), (0.9, 0.2)))
    assert found.num_classes == 4
    assert dict(found.ranked)[5] == 0


@pytest.mark.parametrize(("figures", "count"), [((), 2), (((0.5, 0.5),), 3)])
def test_a_tree_without_a_choice_suggests_its_leaves(figures, count):
    found = suggest_cuts(tree(*figures))
    assert found.num_classes == count
    assert found.ranked == ((count, 0.0),)
