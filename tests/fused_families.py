"""Compile every family's dense synthesis, and print how far it is from the plain one, as JSON.

A program of its own: in tests every function of the package checks its shapes at run time, and the
compiler would have to follow the checks.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors.torch import load_file

from factory.generate.fused import FusedSynthesis
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag
from tests.families import (
    CASES,
    NETWORKS,
    classes_of,
    layer_names,
    load_arrays,
    load_case,
    make_network,
)
from tests.unit.generate.test_stylegan2_parity import PARITY, load

STYLEGAN2 = "stylegan2"


def stylegan2(at: Numerics) -> tuple[Network, torch.Tensor]:
    """A StyleGAN2 of 64 px, and styles for two images."""
    facts, arrays, _ = load("sg2ada_u64_psi1")
    bag = TensorBag(load_file(PARITY / facts["weights_file"]), source="test")
    ws = torch.from_numpy(arrays["ws"])[:1].repeat(2, 1, 1)
    return Network(bag, facts["init_kwargs"], at), ws


def synthesised(name: str, backend: str | None) -> tuple[Any, Any, Any, int]:
    """Images, maps, the network and the size of the batch."""
    if name == STYLEGAN2:
        network, ws = stylegan2(Numerics(torch.device("cpu"), torch.float32, True))
        if backend:
            network.synthesise = FusedSynthesis(network.synthesise, len(ws), backend)
        wanted = ("b16.conv0", "b64.conv1")
        return *network.synthesise(ws, network.const_noise(), wanted), network, len(ws)
    case, arrays = load_case(name), load_arrays(name)
    z, classes = torch.from_numpy(arrays["z"]).float(), classes_of(arrays)
    network = make_network(name, dense=True)
    if backend:
        network.synthesise = FusedSynthesis(network.synthesise, len(z), backend)
    wanted = layer_names(network)[-2:]
    return *CASES[name].synthesise(network, z, classes, case, wanted), network, len(z)


@torch.inference_mode()
def difference(name: str, backend: str) -> dict[str, object]:
    """The largest difference in images and maps, and whether the graph was whole."""
    plain, maps, _, _ = synthesised(name, None)
    images, ours, network, count = synthesised(name, backend)
    far = [float((images - plain).abs().max() / plain.abs().max())]
    far += [float((ours[key] - maps[key]).abs().max() / maps[key].abs().max()) for key in maps]
    return {
        "is_compiled": network.synthesise.is_compiled,
        "furthest": max(far),
        "maps": len(ours),
        "batch": count,
    }


def main() -> None:
    backend, *names = sys.argv[1:]
    found = {}
    for name in names or (STYLEGAN2, *NETWORKS):
        torch._dynamo.reset()
        found[name] = difference(name, backend)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
