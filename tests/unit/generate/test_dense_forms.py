"""Whole networks with dense filters, as a GPU computes them, against the form of the CPU."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag
from factory.train_generator.discriminator import Discriminator, initial_tensors
from tests.families import CASES, classes_of, load_arrays, load_case, make_network
from tests.unit.generate.test_stylegan2_parity import CASES as STYLEGAN2
from tests.unit.generate.test_stylegan2_parity import PARITY, load

CPU = torch.device("cpu")
FILTERING = ["sg3t_64_psi1", "sg3r_64_psi1", "stylegan1_genforce_64", "pggan_genforce_64"]


class NoDepthwise(TorchDispatchMode):
    """Fails at a convolution with a group per channel."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "convolution" not in str(func) or args[8] == 1, f"{args[8]} groups"
        return func(*args, **(kwargs or {}))


def dense_stylegan2(case, dtype=torch.float32):
    facts, arrays, steps = load(case, dtype)
    bag = TensorBag(load_file(PARITY / facts["weights_file"]), source=case)
    return arrays, steps, Network(bag, facts["init_kwargs"], Numerics(CPU, dtype, dense=True))


@pytest.mark.parametrize("case", STYLEGAN2)
@torch.inference_mode()
def test_stylegan2_s_images_and_maps_are_those_of_the_steps(case):
    arrays, steps, dense = dense_stylegan2(case)
    ws = torch.from_numpy(arrays["ws"])
    wanted = {block.output_name for block in steps.blocks} | {layer.name for layer in steps.layers}
    expected, maps = steps.synthesise(ws, steps.const_noise(), wanted)
    with NoDepthwise():
        images, ours = dense.synthesise(ws, dense.const_noise(), wanted)
    assert float((images - expected).abs().max()) <= 1e-4
    assert ours.keys() == maps.keys()
    for name, found in ours.items():
        assert float((found - maps[name]).abs().max()) <= 1e-4, name


@pytest.mark.parametrize("name", FILTERING)
@torch.inference_mode()
def test_other_families_images_and_maps_are_those_of_the_steps(name):
    case, arrays = load_case(name), load_arrays(name)
    results = []
    for dense in (False, True):
        network = make_network(name, dense=dense)
        wanted = [getattr(layer, "geometry", layer).name for layer in network.layers]
        z = torch.from_numpy(arrays["z"]).float()
        with NoDepthwise() if dense else torch.inference_mode():
            results.append(CASES[name].synthesise(network, z, classes_of(arrays), case, wanted))
    (expected, maps), (images, ours) = results
    assert maps
    assert float((images - expected).abs().max()) <= 1e-4
    for layer, found in ours.items():
        largest = max(1.0, float(maps[layer].abs().max()))
        assert float((found - maps[layer]).abs().max()) <= 1e-4 * largest, layer


@pytest.mark.parametrize("change", ["zero", "huge", "negative", "one channel"])
@torch.inference_mode()
def test_odd_modulations_come_out_alike(change):
    arrays, steps, dense = dense_stylegan2("sg2ada_u64_psi1")
    ws = torch.from_numpy(arrays["ws"]).clone()
    match change:
        case "zero":
            ws.zero_()
        case "huge":
            ws *= 50
        case "negative":
            ws.neg_()
        case _:
            ws[:, :, 1:] = 0
    expected, _ = steps.synthesise(ws, steps.const_noise())
    found, _ = dense.synthesise(ws, dense.const_noise())
    scale = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) <= 1e-4 * scale


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_halves_lose_no_more_in_the_dense_form(dtype):
    """A kernel is rounded once, where the steps round weights, and maps before the blur."""
    case = "sg2ada_u64_psi1"
    arrays, exact, _ = dense_stylegan2(case)
    _, steps, dense = dense_stylegan2(case, dtype)
    ws = torch.from_numpy(arrays["ws"])
    truth = exact.synthesise(ws, exact.const_noise())[0]
    db = []
    for network in (steps, dense):
        error = network.synthesise(ws, network.const_noise())[0] - truth
        db.append(20 * math.log10(float(truth.std() / error.std())))
    assert db[1] >= db[0] - 1, db


@torch.inference_mode()
def test_a_sample_is_the_same_in_a_batch_and_alone():
    arrays, _, dense = dense_stylegan2("sg2ada_u64_psi1")
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((4, dense.mapping.z_dim)))
    ws, noise = dense.styles(z.float(), None), dense.const_noise()
    alone = [dense.synthesise(ws[i : i + 1], noise)[0] for i in range(4)]
    assert float((dense.synthesise(ws, noise)[0] - torch.cat(alone)).abs().max()) <= 1e-5
    assert "ws" in arrays


def test_stylegan2_is_trained_alike_in_both_forms():
    facts, _, _ = load("sg2ada_u64_psi1")
    found = []
    for dense in (False, True):
        tensors = load_file(PARITY / facts["weights_file"])
        wanted = [
            tensor.requires_grad_()
            for name, tensor in tensors.items()
            if name.endswith(("conv0.weight", "conv1.bias"))
        ]
        at = Numerics(CPU, torch.float32, dense=dense)
        network = Network(TensorBag(tensors, source="test"), facts["init_kwargs"], at)
        ws = torch.ones(2, network.num_ws, network.mapping.w_dim)
        images, _ = network.synthesise(ws, {})
        found.append(torch.autograd.grad(images.square().mean(), wanted))
    assert found[0]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_the_discriminator_s_scores_and_penalty_are_those_of_the_steps(num_classes):
    rng = torch.Generator().manual_seed(0)
    tensors = initial_tensors({4: 16, 8: 16, 16: 8, 32: 8}, num_classes, rng)
    images = torch.randn(8, 3, 32, 32, generator=rng).requires_grad_()
    labels = torch.eye(3)[[0] * 4 + [2] * 4] if num_classes else None
    found = []
    for dense in (False, True):
        judge = Discriminator(tensors, 32, Numerics(CPU, torch.float32, dense=dense))
        scores = judge(images, labels)
        (slope,) = torch.autograd.grad(scores.sum(), images)
        found.append((scores, slope))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
