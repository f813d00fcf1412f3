"""What one step of a training sees: random views of random pictures, a class for each group."""

import itertools

import pytest
import torch

from factory.train_generator.discriminator import GROUP
from factory.train_generator.images import LabelledImages
from factory.train_generator.step import draw_batch, one_hot, random_view, step_rng

CPU = torch.device("cpu")


def images_of(sizes, names=("cat", "dog", "owl")):
    """Pictures of one grey level each: ten times their class, plus their place in it."""
    levels = [10 * label + place for label, size in enumerate(sizes) for place in range(size)]
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    labels = torch.tensor([level // 10 for level in levels])
    return LabelledImages(pixels.contiguous(), labels, names)


def test_groups_hold_one_class_and_rare_classes_are_drawn_as_often_as_others():
    images = images_of((9, 2, 5))
    batch = draw_batch(images, 300 * GROUP, "none", step_rng(1, 0), CPU)
    classes = batch.labels.argmax(dim=1)
    grey = ((batch.real[:, 0, 0, 0] + 1) * 127.5).round().int()
    assert torch.equal(grey // 10, classes.int()), "a picture comes with its own class"
    groups = classes.view(-1, GROUP)
    assert torch.equal(groups, groups[:, :1].expand(-1, GROUP))
    counts = torch.bincount(groups[:, 0], minlength=3)
    assert counts.min() > 70, "100 each, but for chance"
    assert set(grey.tolist()) == {*range(9), 10, 11, *range(20, 25)}, "and every picture comes"


def test_pixels_are_scaled_from_minus_one_to_one():
    pixels = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 1, 1)
    images = LabelledImages(pixels.contiguous(), torch.zeros(2, dtype=torch.int64), ())
    batch = draw_batch(images, 8 * GROUP, "none", step_rng(0, 0), CPU)
    assert batch.labels is None
    assert set(batch.real.flatten().tolist()) == {-1.0, 1.0}


def test_labels_are_one_hot_where_there_are_classes():
    images = images_of((1, 1, 1))
    assert one_hot(torch.tensor([2, 0]), images, CPU).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot(torch.tensor([0, 0]), images_of((2,), ()), CPU) is None


@pytest.mark.parametrize(("symmetry", "num_views"), [("none", 1), ("mirror", 2), ("dihedral", 8)])
def test_a_symmetry_has_all_of_its_views_and_no_other(symmetry, num_views):
    picture = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    views = random_view(picture.expand(400, -1, -1, -1), symmetry, step_rng(0, 0))
    found = {tuple(view.flatten().tolist()) for view in views}
    turned = [
        sided.rot90(turns, (2, 3)).flatten().tolist()
        for sided, turns in itertools.product((picture, picture.flip(3)), range(4))
    ]
    assert len(found) == num_views
    assert found <= set(map(tuple, turned))


def test_a_step_draws_the_same_numbers_whenever_it_is_taken():
    first = [torch.rand(3, generator=step_rng(5, step)).tolist() for step in range(3)]
    assert first[2] == torch.rand(3, generator=step_rng(5, 2)).tolist()
    assert len({tuple(row) for row in first}) == 3
    assert first[0] != torch.rand(3, generator=step_rng(6, 0)).tolist()
