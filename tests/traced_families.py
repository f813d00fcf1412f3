"""Record every family's synthesis, and print how its bytes compare with the plain ones, as JSON.

A program of its own: in tests every function of the package checks its shapes at run time, which the
recorder takes for choices by values.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from factory.generate.numerics import Numerics
from factory.generate.traced import TracedSynthesis
from tests.families import (
    CASES,
    NETWORKS,
    classes_of,
    layer_names,
    load_arrays,
    load_case,
    make_network,
)
from tests.fused_families import STYLEGAN2, stylegan2

NUM_BATCHES = 4
"""One more than are compared before a program is used."""

OTHERS = [name for name in NETWORKS if name not in {"sg3r_64_psi1", "biggandeep_aj_64"}]
"""One case of each family."""


def are_equal(found, expected):
    pairs = [(found[0], expected[0])]
    pairs += [(found[1][name], maps) for name, maps in expected[1].items()]
    return found[1].keys() == expected[1].keys() and all(torch.equal(*pair) for pair in pairs)


def compare_family(name):
    case, arrays = load_case(name), load_arrays(name)
    drawn, classes = torch.from_numpy(arrays["z"]).float(), classes_of(arrays)
    plain, traced = make_network(name), make_network(name)
    traced.synthesise = TracedSynthesis(traced.synthesise, len(drawn))
    wanted = layer_names(plain)[-2:]
    noise, is_equal = torch.Generator().manual_seed(0), True
    for _ in range(NUM_BATCHES):
        ask = (torch.randn(drawn.shape, generator=noise), classes, case, wanted)
        is_equal &= are_equal(*(CASES[name].synthesise(net, *ask) for net in (traced, plain)))
    return {"is_traced": traced.synthesise.is_traced, "is_equal": is_equal}


def compare_forms():
    """Calls with other noise and other feature maps: each form is a program of its own."""
    network, ws = stylegan2(Numerics(torch.device("cpu"), torch.float32))
    plain = network.synthesise
    traced = TracedSynthesis(plain, len(ws))
    noise = network.const_noise()
    fewer = {key: noise[key] for key in list(noise)[1:]}
    forms = [(noise, ("b16.conv0",)), (noise, ("b64.conv1",)), ({}, ()), (noise, ()), (fewer, ())]
    is_equal = True
    for step in range(NUM_BATCHES):
        for form in forms:
            is_equal &= are_equal(traced(ws + 0.1 * step, *form), plain(ws + 0.1 * step, *form))
    programs = traced._programs.values()
    is_traced = all(program.is_trusted for program in programs) and len(programs) == len(forms)
    hushed = [one(ws, noise, silenced="stage") for one in (traced, plain)]
    return {"is_traced": is_traced, "is_equal": is_equal and are_equal(*hushed)}


@torch.inference_mode()
def main():
    print(
        json.dumps({STYLEGAN2: compare_forms()} | {name: compare_family(name) for name in OTHERS})
    )


if __name__ == "__main__":
    main()
