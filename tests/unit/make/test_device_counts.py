"""What a GPU counts of a batch, computed by the same code on the CPU, against the host's own way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from factory.data import Sample
from factory.make.device_counts import count_on_device, to_pixel_counts
from factory.manifest.measure import count_pixels, measure_samples

SIDES = st.integers(1, 30)
SHAPES = st.tuples(st.integers(1, 3), SIDES, SIDES)


def samples_of(images, masks, counts=None):
    rows = counts or [None] * len(images)
    return [
        Sample(i, image, mask, -1, 1.0, (), latent_cell=i, counts=row)
        for i, (image, mask, row) in enumerate(zip(images, masks, rows, strict=True))
    ]


def counted(images, masks):
    found = count_on_device(torch.from_numpy(images), torch.from_numpy(masks))
    return to_pixel_counts(found.numpy())


@given(st.data(), SHAPES)
def test_both_ways_give_the_same_numbers_for_any_image(data, shape):
    values = data.draw(st.sampled_from([st.integers(0, 255), st.sampled_from([0, 255])]))
    images = data.draw(arrays(np.uint8, (*shape, 3), elements=values))
    masks = data.draw(arrays(np.uint8, shape, elements=st.integers(0, 3)))
    assert counted(images, masks) == count_pixels(samples_of(images, masks))


@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 300, 517), (2, 9, 200), (1, 8, 9), (1, 7, 9)])
def test_statistics_are_equal_to_the_last_bit(shape):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    masks = rng.integers(0, 4, shape, dtype=np.uint8)
    given_counts = samples_of(images, masks, counted(images, masks))
    assert measure_samples(given_counts) == measure_samples(samples_of(images, masks))


def test_a_hash_whose_first_bit_is_set_stays_a_positive_number():
    ramp = np.tile(np.arange(90, dtype=np.uint8)[None, None, :, None], (1, 16, 1, 3))
    found = counted(ramp, np.zeros((1, 16, 90), np.uint8))[0]
    assert found.hash_bits == 2**64 - 1


@pytest.mark.gpu
def test_a_gpu_gives_the_same_numbers():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (3, 300, 517, 3), dtype=np.uint8)
    masks = rng.integers(0, 4, (3, 300, 517), dtype=np.uint8)
    found = count_on_device(torch.from_numpy(images).cuda(), torch.from_numpy(masks).cuda())
    assert to_pixel_counts(found.cpu().numpy()) == count_pixels(samples_of(images, masks))
