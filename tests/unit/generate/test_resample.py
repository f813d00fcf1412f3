import numpy as np
import pytest
import torch
from torch.nn import functional

from factory.generate.resample import Fir

FILTERS = {
    "four taps in a row": np.array([1.0, 3, 3, 1]) / 8,
    "four taps, lopsided": np.array([0.4, 0.3, 0.2, 0.1]),
    "a square of four": np.outer([1.0, 3, 3, 1], [0.5, 0.25, 0.15, 0.1]) / 8,
    "two taps": np.array([0.7, 0.3]),
    "three taps": np.array([0.5, 0.3, 0.2]),
    "five taps": np.array([0.1, 0.2, 0.4, 0.2, 0.1]),
    "five taps, lopsided": np.array([0.05, 0.15, 0.5, 0.2, 0.1]),
    "six taps": np.array([0.05, 0.15, 0.3, 0.3, 0.15, 0.05]),
}


def square_of(taps):
    return np.outer(taps, taps) if taps.ndim == 1 else taps


def convolved(maps, square, before, after):
    """True convolution of zero-padded maps, written out: the filter is turned around."""
    size = len(square)
    padded = np.pad(maps, ((0, 0), (0, 0), (before, after), (before, after)))
    height, width = padded.shape[2] - size + 1, padded.shape[3] - size + 1
    total = np.zeros((*maps.shape[:2], height, width))
    for row in range(size):
        for column in range(size):
            weight = square[size - 1 - row, size - 1 - column]
            total += weight * padded[:, :, row : row + height, column : column + width]
    return total


def with_zeros(maps):
    n, c, h, w = maps.shape
    spread = np.zeros((n, c, 2 * h, 2 * w))
    spread[:, :, ::2, ::2] = maps
    return spread


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 4), (1, 2, 5, 7)])
def test_upsampling_is_zeros_between_samples_and_a_convolution(name, shape):
    maps = np.random.default_rng(0).standard_normal(shape)
    taps = FILTERS[name]
    size = len(taps)
    expected = convolved(with_zeros(maps), square_of(taps) * 4, (size + 1) // 2, (size - 2) // 2)
    found = Fir(torch.from_numpy(taps).float(), shape[1]).upsample(torch.from_numpy(maps).float())
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("name", FILTERS)
def test_blurring_a_transposed_convolution_is_upsampling_before_a_plain_one(name):
    """Both are zeros between samples, a 3x3 convolution and the filter; only the order differs."""
    rng = np.random.default_rng(1)
    maps, kernel = rng.standard_normal((1, 1, 4, 4)), rng.standard_normal((3, 3))
    taps = FILTERS[name]
    size = len(taps)
    sharp = convolved(with_zeros(maps), kernel, 2, 1)
    expected = convolved(sharp, square_of(taps) * 4, (size + 1) // 2 - 1, (size - 2) // 2)
    weight = torch.from_numpy(kernel[None, None]).float()
    left = functional.conv_transpose2d(torch.from_numpy(maps).float(), weight, stride=2)
    found = Fir(torch.from_numpy(taps).float(), 1).blur(left)
    assert found.shape == (1, 1, 8, 8)
    assert np.abs(found.numpy() - expected).max() < 1e-4


def test_a_constant_stays_itself_away_from_the_border():
    fir = Fir(torch.tensor([1.0, 3, 3, 1]) / 8, 1)
    found = fir.upsample(torch.full((1, 1, 8, 8), 2.0))
    assert torch.allclose(found[:, :, 2:-2, 2:-2], torch.tensor(2.0))
    assert float(found[0, 0, 0, 0]) < 2


def test_channels_do_not_mix():
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 1] = 1
    found = Fir(torch.tensor([1.0, 3, 3, 1]) / 8, 3).upsample(maps)
    assert found[0, 0].abs().max() == found[0, 2].abs().max() == 0
    assert found[0, 1].abs().max() > 0
