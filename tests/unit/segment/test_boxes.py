import pytest

from factory.segment.style_mixing.boxes import covering_cells


@pytest.mark.parametrize(
    ("pixels", "scale", "cells"),
    [
        (slice(4, 12), 4, slice(1, 3)),
        (slice(5, 12), 4, slice(1, 3)),
        (slice(4, 13), 4, slice(1, 4)),
        (slice(7, 9), 4, slice(1, 3)),
        (slice(3, 8), 1, slice(3, 8)),
    ],
)
def test_cells_cover_a_box_that_begins_or_ends_inside_one(pixels, scale, cells):
    assert covering_cells(pixels, scale) == cells
