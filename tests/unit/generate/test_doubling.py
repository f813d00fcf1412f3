"""The dense form of layers that double the resolution, held against the steps it stands for."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from factory.generate.doubling import (
    Blur,
    blurred_convolution,
    filtered_maps,
    interleaved,
    repeated_convolution,
)
from factory.generate.numerics import Numerics

CPU = torch.device("cpu")
STEPS = Numerics(CPU, torch.float32, dense=False)
DENSE = Numerics(CPU, torch.float32, dense=True)
FILTERS = {
    "StyleGAN2's": [1 / 8, 3 / 8, 3 / 8, 1 / 8],
    "two taps": [0.7, 0.3],
    "three taps": [0.5, 0.3, 0.2],
    "five lopsided taps": [0.05, 0.15, 0.5, 0.2, 0.1],
    "six taps": [0.05, 0.15, 0.3, 0.3, 0.15, 0.05],
    "a square": [[0.1, 0.2, 0.3, 0.1], [0.0, 0.4, 0.1, 0.2], [0.3, 0.1, 0.1, 0], [0.1, 0, 0, 0.2]],
}
SHAPES = [(1, 1, 1, 1), (2, 3, 4, 4), (3, 5, 5, 7), (1, 8, 33, 16)]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found, expected):
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-4


class Groups(TorchDispatchMode):
    """Notes how many groups every convolution has."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "convolution" in str(func):
            self.found.append(args[8])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_blurred_transposed_convolution_is_one_dense_one(name, shape):
    taps, maps = torch.tensor(FILTERS[name]), normal(*shape)
    weight = normal(6, shape[1], 3, 3, seed=1) / (3 * shape[1] ** 0.5)
    expected = blurred_convolution(weight, taps, STEPS)(maps)
    close(blurred_convolution(weight, taps, DENSE)(maps), expected)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_mixed", [False, True])
def test_upsampled_maps_are_one_dense_convolution(name, shape, is_mixed):
    taps, maps, channels = torch.tensor(FILTERS[name]), normal(*shape), shape[1]
    weight = normal(4, channels, 1, 1, seed=1) if is_mixed else None
    made = 4 if is_mixed else channels
    expected = filtered_maps(made, taps, STEPS, weight)(maps)
    close(filtered_maps(made, taps, DENSE, weight)(maps), expected)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_repeated_pixels_and_a_convolution_are_one_dense_one(shape, fused):
    maps, weight = normal(*shape), normal(6, shape[1], 3, 3, seed=1) / (3 * shape[1] ** 0.5)
    expected = repeated_convolution(weight, STEPS, fused=fused)(maps)
    close(repeated_convolution(weight, DENSE, fused=fused)(maps), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_blur_is_a_sum_of_shifted_maps(shape):
    """Zero padding included: what lies outside is not what a transposed convolution would put there."""
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel, maps = torch.outer(taps, taps).repeat(shape[1], 1, 1, 1), normal(*shape)
    with Groups() as seen:
        found = Blur(kernel, DENSE)(maps)
    assert not seen.found
    close(found, Blur(kernel, STEPS)(maps))


def test_a_blur_that_is_no_outer_product_stays_a_convolution():
    kernel, maps = torch.eye(3).repeat(2, 1, 1, 1), normal(1, 2, 5, 5)
    close(Blur(kernel, DENSE)(maps), Blur(kernel, STEPS)(maps))
    empty = torch.zeros(2, 1, 3, 3)  # its sum is 0: no quotient of it may become not-a-number
    close(Blur(empty, DENSE)(maps), torch.zeros_like(maps))


def test_the_phases_of_a_pixel_become_its_four_neighbours():
    phases = torch.arange(8.0).reshape(1, 8, 1, 1)
    assert interleaved(phases).tolist() == [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]]
    fine = interleaved(normal(2, 8, 3, 5).contiguous(memory_format=torch.channels_last))
    assert fine.is_contiguous(memory_format=torch.channels_last)


def test_the_dense_form_multiplies_four_times_as_much_and_filters_nothing():
    maps, weight = normal(2, 16, 8, 8), normal(24, 16, 3, 3)
    taps = torch.tensor(FILTERS["StyleGAN2's"])
    flops, groups = [], []
    for at in (STEPS, DENSE):
        layer = blurred_convolution(weight, taps, at)
        with FlopCounterMode(display=False) as counter, Groups() as seen:
            layer(maps)
        flops.append(counter.get_total_flops())
        groups.append(seen.found)
    per_position = 2 * 2 * 9 * 16 * 24
    blur = 2 * 2 * 24 * 16 * 16 * 16  # what the counter makes of a depthwise filter of 4 x 4 taps
    assert flops == [per_position * 8 * 8 + blur, 4 * per_position * 8 * 8]
    assert groups == [[1, 24], [1]]


def test_gradients_of_weights_and_maps_are_those_of_the_steps():
    taps, found = torch.tensor(FILTERS["StyleGAN2's"]), []
    for at in (STEPS, DENSE):
        weight = (normal(4, 3, 3, 3, seed=1) / 5).requires_grad_()
        maps = normal(2, 3, 6, 6).requires_grad_()
        result = blurred_convolution(weight, taps, at)(maps)
        (first,) = torch.autograd.grad(result.square().sum(), maps, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [weight, maps]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_a_gpu_gets_the_dense_form_and_a_cpu_the_steps():
    assert Numerics(torch.device("cuda", 0), torch.float32).is_dense
    assert not Numerics(CPU, torch.float32).is_dense
    assert not Numerics(torch.device("meta"), torch.float32).is_dense
    assert not Numerics(torch.device("cuda"), torch.float32, dense=False).is_dense


def test_a_dense_layer_has_shapes_on_the_meta_device():
    at = Numerics(torch.device("meta"), torch.float16, dense=True)
    layer = blurred_convolution(normal(6, 4, 3, 3), torch.tensor(FILTERS["StyleGAN2's"]), at)
    made = layer(torch.empty(2, 4, 512, 512, device="meta", dtype=torch.float16))
    assert (tuple(made.shape), made.dtype) == ((2, 6, 1024, 1024), torch.float16)
