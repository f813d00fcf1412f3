"""BigGAN's building blocks, against the formulas they rearrange."""

import pytest
import torch
from torch.nn import functional

from factory.generate.biggan.blocks import (
    Conv,
    SelfAttention,
    Statistics,
    doubled,
    normalised_relu,
    to_bytes_floored,
)
from factory.generate.numerics import Numerics

AT = Numerics(torch.device("cpu"), torch.float32)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_keeps_the_size_of_its_input(kernel):
    weight, bias, x = torch.randn(5, 4, kernel, kernel), torch.randn(5), torch.randn(2, 4, 6, 6)
    conv = Conv(weight, bias, AT)
    assert (conv.in_channels, conv.channels) == (4, 5)
    wanted = functional.conv2d(x, weight, bias, padding="same")
    assert torch.allclose(conv(x), wanted, atol=1e-5)


def test_scale_and_shift_are_batch_norm_with_gain_and_offset_and_a_relu():
    x, mean, variance = torch.randn(2, 3, 4, 4), torch.randn(3), torch.rand(3)
    gain, offset = torch.randn(2, 3), torch.randn(2, 3)
    normal = functional.batch_norm(x, mean, variance, eps=1e-3)
    wanted = (normal * gain[:, :, None, None] + offset[:, :, None, None]).relu()
    found = normalised_relu(x, Statistics(mean, variance), gain, offset, eps=1e-3)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_pixels_are_repeated():
    assert doubled(torch.tensor([[[[1.0, 2.0]]]])).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


def attention(gamma):
    convs = [Conv(torch.randn(o, i, 1, 1), None, AT) for i, o in ((8, 2), (8, 2), (8, 4), (4, 8))]
    theta, phi, g, o = convs
    return SelfAttention(theta=theta, phi=phi, g=g, o=o, gamma=torch.tensor([gamma])), convs


def test_attention_is_softmax_of_query_and_pooled_key():
    x = torch.randn(1, 8, 4, 4)
    layer, (theta, phi, g, o) = attention(0.5)
    wanted = torch.zeros(4, 4, 4)
    keys = functional.max_pool2d(phi(x), 2)[0].flatten(1)
    values = functional.max_pool2d(g(x), 2)[0].flatten(1)
    for row in range(4):
        for column in range(4):
            weights = (theta(x)[0, :, row, column] @ keys).softmax(dim=0)
            wanted[:, row, column] = values @ weights
    assert layer.channels == 8
    assert torch.allclose(layer(x), x + 0.5 * o(wanted[None]), atol=1e-4)


def test_attention_of_no_strength_changes_nothing():
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(attention(0.0)[0](x), x)


def test_bytes_are_rounded_down_and_clipped_and_channels_come_last():
    images = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0]).view(1, 1, 1, 6)
    found = to_bytes_floored(images, scale=127.5)
    assert found.shape == (1, 1, 6, 1)
    assert found.flatten().tolist() == [0, 0, 127, 254, 255, 255]
