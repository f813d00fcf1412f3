"""Mixed styles are what the whole synthesis of mixed rows gives; only the fine part runs per variant."""

import json

import pytest
import torch
from safetensors.torch import load_file

from factory.generate.numerics import Numerics
from factory.generate.stylegan2 import mixing
from factory.generate.stylegan2.mixing import mixed_colours, style_facts
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag
from unit.generate.test_stylegan2_parity import PARITY

NAMES = ["sg2ada_u64_psi1", "sg2ada_u32_orig_clamp", "sg2ada_u32_resnet_clamp"]


def network_of(name):
    facts = json.loads((PARITY / f"{name}.json").read_text())
    bag = TensorBag(load_file(PARITY / facts["weights_file"]), source=name)
    return Network(bag, facts["init_kwargs"], Numerics(torch.device("cpu"), torch.float32))


def rows_of(network, seed, count=1):
    rng = torch.Generator().manual_seed(seed)
    return network.styles(torch.randn(count, network.mapping.z_dim, generator=rng), None)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_colours_are_those_of_the_mixed_rows(name):
    network = network_of(name)
    base, variants = rows_of(network, 0), rows_of(network, 1, 3)
    noise = network.const_noise()
    full = 2 << (network.num_ws // 2)
    for first in (1, 2, network.num_ws - 2):
        rows = base.repeat(3, 1, 1)
        rows[:, first:] = variants[:, first:]
        wanted, _ = network.synthesise(rows, noise)
        found = mixed_colours(network, base, variants, noise, first, full)
        assert float((found - wanted).abs().max()) < 2e-4


@torch.inference_mode()
def test_an_early_stop_gives_the_colours_of_that_block():
    network = network_of("sg2ada_u64_psi1")
    base, variants = rows_of(network, 0), rows_of(network, 1, 2)
    sides = style_facts(network, ["b4", "b8"]).sides
    assert sides == (4, 8, 16, 32, 64)
    for side in sides[1:]:
        found = mixed_colours(network, base, variants, {}, 2, side)
        assert found.shape == (2, 3, side, side)
    assert not torch.equal(found[0], found[1])


def test_an_architecture_with_colours_at_its_end_only_stops_there_only():
    facts = style_facts(network_of("sg2ada_u32_orig_clamp"), ["a", "b", "c"])
    assert (facts.layers, facts.sides) == (("b", "c"), (32,))


@torch.inference_mode()
def test_coarse_layers_run_once_for_all_variants(monkeypatch):
    network = network_of("sg2ada_u64_psi1")
    sizes = []
    whole = mixing._repeated
    monkeypatch.setattr(mixing, "_repeated", lambda x, n: sizes.append(len(x)) or whole(x, n))
    mixed_colours(network, rows_of(network, 0), rows_of(network, 1, 4), {}, 6, 64)
    assert set(sizes) == {1}
