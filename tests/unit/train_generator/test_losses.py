import pytest
import torch
from torch.autograd import gradcheck

from factory.generate.numerics import Numerics
from factory.train_generator import discriminator
from factory.train_generator.discriminator import GROUP, Discriminator, spread
from factory.train_generator.losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
)

WIDTHS = {4: 8, 8: 8}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def a_discriminator(dtype=torch.float32):
    tensors = discriminator.initial_tensors(WIDTHS, 2, rng())
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    return tensors, Numerics(torch.device("cpu"), dtype)


def test_a_linear_discriminator_has_the_slope_of_its_weights():
    weight = torch.randn(3, 4, 4, generator=rng())
    real = torch.randn(8, 3, 4, 4, generator=rng(1))
    found = r1_penalty(lambda x: (x * weight).sum(dim=(1, 2, 3)), real, 0.3)
    assert float(found) == pytest.approx(0.15 * float(weight.square().sum()), rel=1e-5)


@pytest.mark.parametrize("name", ["b4.out.weight", "embed.weight"])
def test_the_gradient_of_the_penalty_is_that_of_finite_differences(name):
    """Through all of our discriminator, for weights behind its last kink: the slope of a network of
    leaky ReLUs jumps with the weights before one."""
    tensors, at = a_discriminator()
    labels = torch.eye(2).repeat_interleave(GROUP, dim=0)
    real = torch.randn(2 * GROUP, 3, 8, 8, generator=rng(1))

    def penalty(weight):
        discriminate = Discriminator(tensors | {name: weight}, 8, at)
        return r1_penalty(lambda x: discriminate(x, labels), real, 1.0)

    weight = tensors[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(weight), weight)
    towards = gradient / gradient.norm()
    step = 1e-2
    with torch.no_grad():
        ahead, behind = weight + towards * step, weight - towards * step
    measured = (float(penalty(ahead).detach()) - float(penalty(behind).detach())) / (2 * step)
    assert measured == pytest.approx(float(gradient.norm()), rel=1e-3)


def test_the_penalty_can_be_differentiated_twice_in_double_precision():
    weight = torch.randn(2, 3, 3, 3, dtype=torch.float64, generator=rng(), requires_grad=True)
    real = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=rng(1))

    def penalty(weight):
        def discriminate(x):
            y = torch.nn.functional.conv2d(x, weight, padding=1)
            return torch.nn.functional.softplus(y).sum(dim=(1, 2, 3))

        return r1_penalty(discriminate, real, 1.0)

    assert gradcheck(penalty, (weight,))


def test_losses_point_the_right_way():
    sure, wrong = torch.full((4,), 3.0), torch.full((4,), -3.0)
    assert discriminator_loss(sure, wrong) < discriminator_loss(wrong, sure)
    assert generator_loss(sure) < generator_loss(wrong)
    assert float(generator_loss(torch.zeros(4))) == pytest.approx(0.6931, abs=1e-4)


def test_equal_steps_in_w_that_make_equal_steps_in_the_image_are_not_punished():
    ws = torch.randn(4, 1, 48, generator=rng(), requires_grad=True)
    even = ws.view(4, 3, 4, 4)
    punished, mean = path_length_penalty(even, ws, 0.0, rng())
    assert float(punished.detach()) > 0, "the mean is not known yet"
    assert mean > 0
    lengths = []
    for seed in range(2000):
        _, mean = path_length_penalty(ws.view(4, 3, 4, 4), ws, mean, rng(seed))
        lengths.append(mean)
    even_cost, _ = path_length_penalty(ws.view(4, 3, 4, 4), ws, mean, rng())
    scale = torch.tensor([0.1, 0.1, 2.0, 2.0])[:, None, None, None]
    uneven_cost, _ = path_length_penalty(ws.view(4, 3, 4, 4) * scale, ws, mean, rng())
    assert float(even_cost.detach()) < 0.1 * float(uneven_cost.detach())


def test_the_spread_of_a_group_sees_that_its_pictures_are_all_alike():
    alike = torch.randn(1, 8, 4, 4, generator=rng()).repeat(GROUP, 1, 1, 1)
    varied = torch.randn(GROUP, 8, 4, 4, generator=rng(1))
    found = spread(torch.cat([alike, varied]))
    assert found[:GROUP].max() < 1e-3
    assert found[GROUP:].min() > 0.5


def test_classes_are_told_apart_and_pictures_of_one_group_do_not_reach_another():
    tensors, at = a_discriminator()
    discriminate = Discriminator(tensors, 8, at)
    images = torch.randn(2 * GROUP, 3, 8, 8, generator=rng())
    labels = torch.eye(2).repeat_interleave(GROUP, dim=0)
    found = discriminate(images, labels)
    assert (discriminate(images, labels.flip(1)) - found).abs().min() > 1e-6
    other = images.clone()
    other[GROUP:] = 0
    assert torch.allclose(discriminate(other, labels)[:GROUP], found[:GROUP], atol=1e-5)
