"""Resampling around StyleGAN3's non-linearity, held against inserting zeros one by one."""

import pytest
import torch
from torch.nn import functional

from factory.generate.numerics import Numerics
from factory.generate.stylegan3.banded import separable_terms
from factory.generate.stylegan3.filters import Downsampling, Upsampling

AT = Numerics(torch.device("cpu"), torch.float32)
DENSE = Numerics(torch.device("cpu"), torch.float32, dense=True)


def upsampled_naively(maps, taps, factor, padding):
    count, channels, height, width = maps.shape
    sparse = torch.zeros(count, channels, height * factor, width * factor)
    sparse[:, :, ::factor, ::factor] = maps
    before, after = padding
    sparse = functional.pad(sparse, (before, after, before, after))
    kernel = torch.outer(taps, taps).flip(0, 1).repeat(channels, 1, 1, 1) * factor**2
    return functional.conv2d(sparse, kernel, groups=channels)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("padding", [(9, 8), (11, 10), (-4, -3), (0, 0), (30, 3), (-2, 25), (7, 7)])
def test_upsampling_is_inserting_zeros_padding_and_filtering(factor, padding):
    random = torch.Generator().manual_seed(4)
    maps = torch.randn(2, 3, 11, 13, generator=random)
    taps = torch.randn(6 * factor, generator=random)
    found = Upsampling(taps, factor, 3, AT)(maps, padding)
    torch.testing.assert_close(
        found, upsampled_naively(maps, taps, factor, padding), atol=1e-4, rtol=1e-5
    )


def test_upsampling_takes_filters_that_are_no_multiple_of_its_factor():
    random = torch.Generator().manual_seed(4)
    maps, taps = torch.randn(1, 2, 9, 9, generator=random), torch.randn(7, generator=random)
    found = Upsampling(taps, 2, 2, AT)(maps, (3, 2))
    torch.testing.assert_close(found, upsampled_naively(maps, taps, 2, (3, 2)))


def test_a_single_tap_only_pads():
    maps = torch.randn(1, 2, 4, 4)
    up = Upsampling(None, 1, 2, AT)
    assert torch.equal(up(maps, (0, 0)), maps)
    assert torch.equal(up(maps, (1, -1)), functional.pad(maps, (1, -1, 1, -1)))


def test_separable_and_square_filters_thin_out_alike():
    maps, taps = torch.randn(2, 3, 20, 20), torch.randn(12)
    separable = Downsampling(taps, 2, 3, AT)(maps)
    square = Downsampling(torch.outer(taps, taps), 2, 3, AT)(maps)
    assert tuple(separable.shape) == (2, 3, 5, 5)
    torch.testing.assert_close(separable, square, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("num_taps", [5, 7, 12, 24])
@pytest.mark.parametrize("padding", [(9, 8), (-4, -3), (0, 0), (30, 3), (-2, 25)])
@pytest.mark.parametrize("shape", [(2, 3, 29, 23), (1, 2, 36, 70)])
def test_a_banded_matrix_upsamples_as_the_phases_do(factor, num_taps, padding, shape):
    random = torch.Generator().manual_seed(4)
    maps, taps = torch.randn(shape, generator=random), torch.randn(num_taps, generator=random) / 4
    found = Upsampling(taps, factor, shape[1], DENSE)(maps, padding)
    torch.testing.assert_close(
        found, Upsampling(taps, factor, shape[1], AT)(maps, padding), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("filters", [(9,), (12,), (12, 12), (24, 24)])
@pytest.mark.parametrize("shape", [(2, 3, 25, 31), (1, 2, 140, 77)])
def test_a_banded_matrix_thins_out_as_the_depthwise_filter_does(factor, filters, shape):
    random = torch.Generator().manual_seed(4)
    maps, taps = torch.randn(shape, generator=random), torch.randn(filters, generator=random) / 16
    found = Downsampling(taps, factor, shape[1], DENSE)(maps)
    torch.testing.assert_close(
        found, Downsampling(taps, factor, shape[1], AT)(maps), atol=1e-4, rtol=0
    )


def test_a_radial_filter_is_as_many_pairs_as_its_rank():
    taps = torch.tensor([0.1, 0.4, 0.4, 0.1])
    assert len(separable_terms(taps)) == len(separable_terms(torch.outer(taps, taps))) == 1
    place = torch.arange(12, dtype=torch.float64) - 5.5
    radial = torch.sinc((place[:, None].square() + place.square()).sqrt() / 3).float()
    terms = separable_terms(radial)
    assert 1 < len(terms) <= 6
    whole = sum(torch.outer(rows, columns) for rows, columns in terms)
    torch.testing.assert_close(whole, radial, atol=1e-6, rtol=0)
