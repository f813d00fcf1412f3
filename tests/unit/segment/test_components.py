import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from factory.segment.objects.components import number_components


def flooded(mask):
    """The same by flood fill."""
    labels = np.zeros(mask.shape, dtype=np.int64)
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        count += 1
        todo = [start]
        while todo:
            y, x = todo.pop()
            inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            if inside and mask[y, x] and not labels[y, x]:
                labels[y, x] = count
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return labels


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_parts_are_those_of_a_flood_fill_in_reading_order(mask):
    np.testing.assert_array_equal(number_components(mask), flooded(mask))


def test_a_spiral_is_one_part():
    mask = np.zeros((11, 11), bool)
    mask[0], mask[:, 10], mask[10], mask[2:, 0] = True, True, True, True
    mask[2, :9], mask[2:9, 8], mask[8, 2:9], mask[4:9, 2] = True, True, True, True
    np.testing.assert_array_equal(number_components(mask), flooded(mask))
    assert number_components(mask).max() == 1


def test_pixels_that_touch_at_a_corner_are_two_parts():
    assert number_components(np.eye(2, dtype=bool)).tolist() == [[1, 0], [0, 2]]
