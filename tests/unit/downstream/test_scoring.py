import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from factory.downstream.scoring import (
    add_overlaps,
    count_overlaps,
    near_borders,
)

MASKS = stn.arrays(np.uint8, (9, 8), elements={"min_value": 0, "max_value": 2})


@given(MASKS, MASKS)
def test_scores_are_those_of_sets_of_pixels(predicted, true):
    found = count_overlaps(predicted, true, 3)
    for k in range(3):
        a, b = predicted == k, true == k
        union, total = (a | b).sum(), a.sum() + b.sum()
        iou, dice = found.iou()[k], found.dice()[k]
        assert np.isnan(iou) == np.isnan(dice) == (union == 0)
        if union:
            assert iou == (a & b).sum() / union
            assert dice == 2 * (a & b).sum() / total


@given(MASKS, MASKS)
def test_ignored_pixels_and_those_outside_count_nowhere(predicted, true):
    inside = np.zeros(true.shape, bool)
    inside[2:6] = True
    shown = true.copy()
    shown[3] = 255
    for mask, rows in ((inside, [2, 4, 5]), (None, [0, 1, 2, 4, 5, 6, 7, 8])):
        found = count_overlaps(predicted, shown, 3, mask)
        wanted = count_overlaps(predicted[rows], true[rows], 3)
        for name in ("both", "predicted", "true"):
            assert (getattr(found, name) == getattr(wanted, name)).all()


def test_counts_of_images_add_up():
    one = count_overlaps(np.eye(4, dtype=np.uint8), np.ones((4, 4), np.uint8), 2)
    total = add_overlaps([one, one])
    assert total.both.tolist() == [0, 8]
    assert total.iou().tolist() == one.iou().tolist()


WITH_IGNORED = stn.arrays(np.uint8, (9, 8), elements=st.sampled_from([0, 1, 2, 255]))


@given(WITH_IGNORED)
@pytest.mark.parametrize("width", [1, 3, 20])
def test_the_trimap_is_every_pixel_whose_square_shows_two_classes(width, true):
    wanted = np.zeros(true.shape, bool)
    for y, x in np.ndindex(true.shape):
        square = true[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
        wanted[y, x] = len(set(square.flatten().tolist()) - {255}) > 1
    assert (near_borders(true, width) == wanted).all()


def test_the_trimap_reaches_as_far_across_a_corner_as_along_a_row():
    true = np.zeros((11, 11), np.uint8)
    true[5, 5] = 1
    assert np.argwhere(near_borders(true, 3)).tolist() == [
        [y, x] for y in range(2, 9) for x in range(2, 9)
    ]


def test_a_border_of_ignored_pixels_is_none_and_a_seam_of_them_hides_none():
    true = np.zeros((6, 6), np.uint8)
    true[3:] = 255
    assert not near_borders(true, 3).any()
    true[4:] = 1
    assert near_borders(true, 2).any(axis=1).tolist() == [False, False, True, True, True, False]
