import numpy as np
import pytest
import torch

from factory.data import IGNORE
from factory.fit.few_shot import confusion, count_passes, count_steps, mean_iou
from factory.fit.lse import LinearLayers, Picture
from factory.spec.linear import LinearSpec


def spec(**settings):
    return LinearSpec(annotations="p", classes=["a", "b"], **settings)


@pytest.mark.parametrize(("num_pictures", "passes"), [(1, 128), (8, 16), (5, 26), (200, 1)])
def test_an_epoch_is_whole_passes_over_the_pictures(num_pictures, passes):
    assert count_passes(spec(), num_pictures) == passes


def test_each_picture_is_left_out_by_one_of_the_folds_heads():
    assert count_steps(spec(), 6) == 6
    assert count_steps(spec(folds=3), 6) == 6 + 3 * 4


def test_unpainted_pixels_are_not_counted():
    head = LinearLayers([torch.eye(3)], torch.ones(1), torch.zeros(3))
    maps = torch.eye(3)[[0, 1, 1, 2]].T.reshape(1, 3, 2, 2)
    ids = torch.tensor([[[0, 1], [0, IGNORE]]])
    table = confusion(head, [Picture((maps,), ids)])
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert mean_iou(table) == pytest.approx((1 / 2 + 1 / 2) / 2), "the third class is in neither"


def test_a_perfect_head_scores_1():
    assert mean_iou(np.diag([3, 5, 0])) == 1
