import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from matplotlib.path import Path as Outline
from scipy import ndimage

from factory.export.polygons import area_of, bridged, outline

MASKS = stn.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def filled(loop, shape):
    """The pixels whose centre is inside of a loop, by the winding rule of a library."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    return Outline([*loop, loop[0]], closed=True).contains_points(centres).reshape(shape)


@given(MASKS)
@settings(max_examples=200)
def test_outlines_without_their_holes_are_the_mask_exactly(inside):
    again = np.zeros_like(inside)
    for loops in outline(inside):
        part = filled(loops[0], inside.shape)
        for hole in loops[1:]:
            inner = filled(hole, inside.shape)
            assert not (inner & ~part).any()
            part &= ~inner
        assert not (again & part).any()
        again |= part
    assert (again == inside).all()


@given(MASKS)
@settings(max_examples=200)
def test_there_is_an_outline_for_each_component_and_areas_add_up(inside):
    found = outline(inside)
    assert len(found) == ndimage.label(inside)[1]
    assert sum(area_of(loop) for loops in found for loop in loops) == inside.sum()


@given(MASKS)
@settings(max_examples=200)
def test_a_bridge_adds_no_area_and_leaves_the_hole_open(inside):
    for loops in outline(inside):
        whole = bridged(loops)
        assert area_of(whole) == sum(map(area_of, loops))
        exact = filled(loops[0], inside.shape)
        for hole in loops[1:]:
            exact &= ~filled(hole, inside.shape)
        assert (filled(whole, inside.shape) == exact).all()


@pytest.mark.parametrize("side", [1, 64])
def test_a_square_has_four_corners(side):
    ((loop,),) = outline(np.ones((side, side), dtype=bool))
    assert sorted(loop) == [(0, 0), (0, side), (side, 0), (side, side)]
    assert area_of(loop) == side * side


def test_nothing_has_no_outline():
    assert outline(np.zeros((4, 5), dtype=bool)) == []
