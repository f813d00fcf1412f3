import numpy as np
import torch

from factory.downstream.augment import augment
from factory.downstream.pairs import step_rng


def pair():
    """A bright disc off the middle on a darker ground."""
    y, x = np.mgrid[:48, :48]
    inside = (y - 20) ** 2 + (x - 26) ** 2 < 100
    image = torch.full((3, 48, 48), 90.0)
    image[:, torch.from_numpy(inside)] = 200.0
    return image, torch.from_numpy(inside).long()


def test_masks_move_with_their_pictures():
    image, mask = pair()
    images, masks = augment(image.repeat(8, 1, 1, 1), mask.repeat(8, 1, 1), step_rng(0, 0))
    assert images.min() >= 0
    assert images.max() <= 255
    assert set(masks.unique().tolist()) == {0, 1}
    for picture, where in zip(images.mean(dim=1), masks.bool(), strict=True):
        assert picture[where].mean() > picture[~where].mean() + 20
    assert len({tuple(m.flatten().tolist()) for m in masks}) == 8


def test_ignored_pixels_stay_ignored_and_no_class_is_made_up():
    image, mask = pair()
    mask[mask == 1] = 255
    _, masks = augment(image[None], mask[None], step_rng(0, 1))
    assert set(masks.unique().tolist()) == {0, 255}


def test_changes_are_a_function_of_seed_and_step():
    image, mask = pair()
    one, same, other = (
        augment(image[None], mask[None], step_rng(3, step))[0] for step in (5, 5, 6)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
