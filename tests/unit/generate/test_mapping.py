"""The mapping network, computed by hand from tensors small enough to read."""

import math

import pytest
import torch

from factory.generate.stylegan2.mapping import Linear, Mapping
from factory.generate.weights.find import TensorBag

CPU = torch.device("cpu")
ROOT = math.sqrt(2)


def mapping(tensors, *, lr=1.0, joint=False):
    return Mapping(TensorBag(tensors, source="x"), lr, joint_norm=joint, device=CPU)


def plain():
    return {
        "mapping.fc0.weight": torch.eye(2),
        "mapping.fc0.bias": torch.tensor([0.0, -1.0]),
        "mapping.w_avg": torch.zeros(2),
    }


def with_classes():
    return plain() | {
        "mapping.fc0.weight": torch.eye(4)[:2] + torch.eye(4)[2:],
        "mapping.embed.weight": torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, 1.0]]),
        "mapping.embed.bias": torch.zeros(2),
    }


def test_the_learning_rate_s_gains_are_folded_into_weight_and_bias():
    tensors = TensorBag({"a.weight": torch.full((1, 4), 2.0), "a.bias": torch.ones(1)}, source="x")
    layer = Linear(tensors, "a", 0.5, CPU)
    assert layer.weight.tolist() == [[0.5] * 4]
    assert layer(torch.ones(1, 4)).tolist() == [[2.5]]


def test_latents_are_normalised_before_the_first_layer():
    found = mapping(plain())(torch.tensor([[3.0, 4.0], [30.0, 40.0]]), None)
    unit = torch.tensor([3.0, 4.0]) / math.sqrt(12.5)
    x, y = (unit / ROOT).tolist()
    wanted = torch.tensor([x, 0.2 * (y - 1)]) * ROOT
    assert torch.allclose(found, wanted.expand(2, 2), atol=1e-5)


def test_as_many_layers_are_read_as_there_are():
    tensors = plain() | {
        "mapping.fc1.weight": torch.ones(5, 2),
        "mapping.fc1.bias": torch.zeros(5),
        "mapping.w_avg": torch.zeros(5),
    }
    found = mapping(tensors)
    assert (len(found.layers), found.z_dim, found.w_dim, found.c_dim) == (2, 2, 5, 0)


def test_widths_of_latent_and_class_show_in_the_tensors():
    found = mapping(with_classes())
    assert (found.z_dim, found.w_dim, found.c_dim) == (2, 2, 3)


@pytest.mark.parametrize("joint", [False, True])
def test_latent_and_class_are_normalised_apart_or_as_before_ada_together(joint):
    z, labels = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    network = mapping(with_classes(), joint=joint)
    embedded = network.embed(labels)
    x = torch.cat([z, embedded], dim=1)
    parts = [x] if joint else [z, embedded]
    x = torch.cat([part / part.square().mean().sqrt() for part in parts], dim=1)
    wanted = torch.nn.functional.leaky_relu(network.layers[0](x), 0.2) * ROOT
    assert torch.allclose(network(z, labels), wanted, atol=1e-5)
    apart = mapping(with_classes(), joint=not joint)(z, labels)
    assert not torch.allclose(apart, wanted, atol=1e-3)
