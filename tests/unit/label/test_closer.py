from copy import copy

import numpy as np
from small_label import small_material

from factory.label import closer
from factory.label.closer import CloserLook
from factory.label.render import Renderer
from factory.segment.tree.mixture import parts_of


def groups(count):
    tree = small_material().tree
    return [[node] for node in tree.by_size(tree.flat_cut(count))]


def test_a_class_and_its_parts_are_where_the_masks_of_both_cuts_have_them():
    tree, gallery = small_material().tree, small_material().gallery
    look = CloserLook(small_material().renderer)
    for at, nodes in enumerate(groups(4)):
        inside, parts = look.masks(6, groups(4), at)
        cut = [node for (node,) in groups(4)]
        assert np.array_equal(inside, gallery.masks(cut)[6] == at)
        fine = parts_of(tree, nodes)
        split = fine + [node for node in cut if node not in nodes]
        mask = gallery.masks(split)[6].astype(int) + 1
        assert np.array_equal(parts, np.where(mask > len(fine), 0, mask))
    assert np.array_equal(look.image(6), gallery.images[6])


def test_samples_are_kept_up_to_a_size_the_latest_of_them(monkeypatch):
    drawn = []
    renderer = small_material().renderer
    size = renderer.render(0, renderer.side)[1].nbytes

    def render(index, side):
        drawn.append(index)
        return Renderer.render(renderer, index, side)

    counted = copy(renderer)
    counted.render = render
    monkeypatch.setattr(closer, "_MOST_BYTES", 2 * size)
    look = CloserLook(counted)
    for index in (1, 2, 1, 3, 1, 2):
        look.image(index)
    assert drawn == [1, 2, 3, 2]
