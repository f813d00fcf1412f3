import math

import pytest
import torch

from factory.train_generator.augment import (
    Adaptation,
    RandomDraws,
    augment,
    colours,
    geometry,
    recolour,
    warp,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 8, generator=rng()) * 2 - 1


def repeated(matrix, count=4):
    return torch.tensor(matrix, dtype=torch.float32).expand(count, 3, 3)


def test_nothing_happens_at_probability_zero(images):
    assert augment(images, 0.0, rng()) is images
    still = RandomDraws(4, 0.0, rng())
    assert torch.equal(geometry(still, 8), torch.eye(3).expand(4, 3, 3))
    assert torch.allclose(colours(still), torch.eye(4).expand(4, 4, 4), atol=1e-6)
    assert torch.allclose(warp(images, geometry(still, 8)), images, atol=1e-6)
    assert torch.allclose(recolour(images, colours(still)), images, atol=1e-6)


def test_everything_happens_at_probability_one(images):
    changed = augment(images, 1.0, rng())
    assert changed.shape == images.shape
    assert (changed - images).abs().amax(dim=(1, 2, 3)).min() > 0.1


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], lambda x: x.flip(3)),
        ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], lambda x: x.rot90(1, (2, 3))),
        ([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]], lambda x: torch.cat([x[..., 2:], x[..., -2:].flip(3)], 3)),
    ],
    ids=["flip", "quarter turn", "two pixels"],
)  # fmt: skip
def test_pixels_are_moved_exactly(images, matrix, expected):
    assert torch.allclose(warp(images, repeated(matrix)), expected(images), atol=1e-5)


class Only(RandomDraws):
    """Lets one of the transformations happen, with a given amount."""

    def __init__(self, position, amount):
        super().__init__(4, 0.0, rng())
        self.left, self.amount = position, amount

    def _one(self):
        self.left -= 1
        return torch.full((4,), float(self.amount if self.left == -1 else 0))

    def normal(self, scale):
        return self._one()

    def uniform(self, low, high):
        return self._one()

    def integer(self, num):
        return self._one()


BRIGHTNESS, CONTRAST, LUMA, HUE, SATURATION = range(5)


def test_brightness_and_contrast(images):
    brighter = recolour(images, colours(Only(BRIGHTNESS, 0.25)))
    assert torch.allclose(brighter, images + 0.25, atol=1e-6)
    twice = recolour(images, colours(Only(CONTRAST, 1)))
    assert torch.allclose(twice, images * 2, atol=1e-6)


def test_luma_is_mirrored_and_the_rest_of_a_colour_stays(images):
    mirrored = recolour(images, colours(Only(LUMA, 1)))
    luma = images.mean(dim=1, keepdim=True)
    assert torch.allclose(mirrored.mean(dim=1, keepdim=True), -luma, atol=1e-6)
    assert torch.allclose(mirrored + luma, images - luma, atol=1e-6)


def test_a_third_of_the_hues_makes_red_green_and_leaves_grey_alone(images):
    turned = recolour(images, colours(Only(HUE, 2 * math.pi / 3)))
    assert torch.allclose(turned, images.roll(1, dims=1), atol=1e-5)
    grey = images.mean(dim=1, keepdim=True).expand_as(images)
    assert torch.allclose(recolour(grey, colours(Only(HUE, 1.0))), grey, atol=1e-6)


def test_saturation_moves_colours_away_from_their_own_grey(images):
    luma = images.mean(dim=1, keepdim=True)
    strong = recolour(images, colours(Only(SATURATION, 1)))
    assert torch.allclose(strong, luma + (images - luma) * 2, atol=1e-5)


def test_gradients_pass_through():
    images = torch.zeros(4, 3, 8, 8, requires_grad=True)
    augment(images, 1.0, rng()).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_how_often_something_happens_is_the_probability():
    happened = (RandomDraws(4000, 0.3, rng()).normal(1.0) != 0).float().mean()
    assert abs(float(happened) - 0.3) < 0.03


def test_certainty_above_the_target_augments_more_and_below_it_less():
    sure = Adaptation(p=0.5).observed(torch.ones(64))
    assert sure.certainty == 1
    assert sure.updated(0.6).p == pytest.approx(0.5 + 64 / 500_000)
    torn = Adaptation(p=0.5).observed(torch.tensor([1.0, -1.0] * 32))
    assert torn.certainty == 0
    assert torn.updated(0.6).p == pytest.approx(0.5 - 64 / 500_000)
    assert torn.updated(0.6).count == 0


def test_the_probability_stays_one():
    assert Adaptation(p=0.0).observed(-torch.ones(8)).updated(0.6).p == 0
    assert Adaptation(p=1.0).observed(torch.ones(8)).updated(0.6).p == 1
