import numpy as np
import pytest

from factory.data import IGNORE
from factory.edit.changes import make_change
from factory.errors import JobError
from factory.manifest.labels import MaskClass
from factory.spec import EditSpec

LABELS = [
    MaskClass(id=place, name=name, colour=(place, 0, 0))
    for place, name in enumerate(("ground", "cell", "nucleus"))
]


def painted(mask, index=0, seed=0, **settings):
    return make_change(EditSpec(**settings), LABELS, seed=seed).paint(
        np.array(mask, np.uint8), index
    )


def after(mask, **settings):
    change = painted(mask, **settings)
    return np.where(change == IGNORE, mask, change)


def square(side=11, first=4, last=7, value=1):
    mask = np.zeros((side, side), np.uint8)
    mask[first:last, first:last] = value
    return mask


def test_a_class_grows_by_pixels_on_all_sides_and_only_what_is_new_is_painted():
    grown = painted(square(), change="grow", of="cell", by_px=2)
    assert set(np.unique(grown)) == {1, IGNORE}
    assert (grown[4:7, 4:7] == IGNORE).all()
    whole = after(square(), change="grow", of="cell", by_px=2) == 1
    rows, columns = np.nonzero(whole)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 8, 2, 8)
    assert not whole[2, 2]  # an octagon has no corners
    assert (whole == whole[::-1]).all()
    assert (whole == whole.T).all()


def test_growing_ends_at_the_image_and_shrinking_does_not_begin_there():
    mask = np.zeros((6, 6), np.uint8)
    mask[:, :3] = 1
    assert (after(mask, change="grow", of=1, by_px=9) == 1).all()
    shrunk = after(mask, change="shrink", of=1, by_px=1)
    assert (shrunk[:, :2] == 1).all()
    assert (shrunk[:, 2:] == 0).all()


def test_what_is_lost_becomes_the_nearest_other_class_or_the_one_that_is_named():
    mask = np.zeros((5, 12), np.uint8)
    mask[:, 3:9] = 2
    mask[:, 9:] = 1
    nearest = after(mask, change="shrink", of="nucleus", by_px=2)
    assert nearest[2].tolist() == [0] * 5 + [2] * 2 + [1] * 5
    named = after(mask, change="shrink", of="nucleus", by_px=2, to="cell")
    assert named[2].tolist() == [0] * 3 + [1] * 2 + [2] * 2 + [1] * 5


def test_what_vanishes_without_another_class_around_it_stays():
    assert (painted(np.ones((4, 4)), change="shrink", of=1, by_px=3) == IGNORE).all()
    everything = np.full((4, 4), 1)
    everything[0, 0] = IGNORE
    assert (painted(everything, change="shrink", of=1, by_px=3) == IGNORE).all()


def test_a_class_is_shifted_in_a_direction_that_only_the_index_and_the_seed_decide():
    found = set()
    for index in range(64):
        moved = after(square(), change="shift", of="cell", by_px=3, index=index)
        again = after(square(), change="shift", of="cell", by_px=3, index=index)
        assert np.array_equal(moved, again)
        assert (moved == 1).sum() == 9
        rows, columns = np.nonzero(moved == 1)
        found.add((int(rows.min()) - 4, int(columns.min()) - 4))
    sides = (-3, 0, 3)
    assert found == {(down, right) for down in sides for right in sides} - {(0, 0)}
    others = [
        np.array_equal(
            after(square(), change="shift", of=1, index=index),
            after(square(), change="shift", of=1, index=index, seed=1),
        )
        for index in range(20)
    ]
    assert not all(others)


def test_what_is_shifted_out_of_the_image_is_gone():
    mask = square(side=5, first=1, last=4)
    for index in range(16):
        moved = after(mask, change="shift", of=1, by_px=40, index=index)
        assert (moved == 0).all()


def test_a_class_becomes_another_one():
    mask = square()
    mask[5, 5] = 2
    relabelled = painted(mask, change="relabel", of="cell", to="nucleus")
    assert (relabelled == 2).sum() == 8
    assert (relabelled == IGNORE).sum() == 121 - 8


def test_a_mask_without_the_class_is_not_changed():
    for kind, more in (("grow", {}), ("shrink", {}), ("shift", {}), ("relabel", {"to": 0})):
        assert (painted(np.zeros((8, 8)), change=kind, of="nucleus", **more) == IGNORE).all()


def test_classes_that_do_not_exist_or_are_the_same_are_refused():
    with pytest.raises(JobError, match=r"dataset\.edit\.of: found class tail"):
        painted(square(), change="grow", of="tail")
    with pytest.raises(JobError, match=r"dataset\.edit\.to: found class 9"):
        painted(square(), change="relabel", of="cell", to=9)
    with pytest.raises(
        JobError, match=r"dataset\.edit\.to: found 'cell', which is the class of `of`"
    ):
        painted(square(), change="relabel", of=1, to="cell")
