"""Recorded synthesis computes what Python computes, bit by bit, or is not used."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from factory.generate.fused import fuse_synthesis
from factory.generate.traced import MOST_SIDE_PX, TracedSynthesis, trace_synthesis

TESTS = Path(__file__).parents[2]
CPU = torch.device("cpu")
NUM_BATCHES = 5


def assert_equal(found, expected):
    assert torch.equal(found[0], expected[0])
    assert found[1].keys() == expected[1].keys()
    for name, feature_map in expected[1].items():
        assert torch.equal(found[1][name], feature_map), name


@pytest.mark.slow
def test_every_family_is_recorded_with_equal_bytes():
    ran = subprocess.run(
        [sys.executable, str(TESTS / "traced_families.py")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(ran.stdout)
    assert len(found) == 7
    for name, one in found.items():
        assert one["is_equal"], name
        # StyleGAN3 computes sizes in ways that look like choices, and is far from being held up.
        assert one["is_traced"] == (not name.startswith("sg3")), name


def scaled(x, bag):
    """As a network's `synthesise`: images and maps."""
    return x * bag["factor"] + 1, {"map": x.relu()}


def test_batches_of_another_size_and_gradients_are_computed_as_written():
    traced = TracedSynthesis(scaled, 2)
    bag, x = {"factor": torch.tensor(3.0)}, torch.randn(2, 5)
    with torch.no_grad():
        for _ in range(NUM_BATCHES):
            traced(x, bag)
        assert traced.is_traced
        assert_equal(traced(x[:1], bag), scaled(x[:1], bag))
        other = {"factor": torch.tensor(-2.0)}
        assert_equal(traced(x, other), scaled(x, other))
    moved = x.clone().requires_grad_()
    traced(moved, bag)[0].sum().backward()
    assert torch.equal(moved.grad, torch.full_like(x, 3))


@torch.inference_mode()
def test_a_program_that_computes_something_else_is_never_used(caplog):
    def chooses(x):
        return (x.abs() if float(x.sum()) < 0 else -x), {}

    def counts(x, calls=[0]):  # noqa: B006 - a state is what a recorded program loses
        calls[0] += 1
        return x + calls[0], {}

    def fails(x):
        if torch.jit.is_tracing():
            raise RuntimeError("no such\noperation")
        return x + 1, {}

    for synthesise, reason in (
        (chooses, "Converting a tensor to a Python float"),
        (counts, "its bytes differ"),
        (fails, "no such operation"),
    ):
        traced = TracedSynthesis(synthesise, 2)
        with caplog.at_level(logging.INFO, logger="factory"):
            for number in range(NUM_BATCHES):
                traced(torch.full((2, 3), float(number) - 2))
        assert not traced.is_traced
        said = [one.getMessage() for one in caplog.records if "not_traced" in one.getMessage()]
        assert len(said) == 1
        assert reason in said[0]
        caplog.clear()


class Network:
    """What a generator of ours has."""

    __module__ = "factory.generate"

    def synthesise(self, *_):
        """Nothing."""


class Whole:
    """A generator around a network."""

    def __init__(self, resolution):
        self.network = Network()
        self.facts = SimpleNamespace(resolution=resolution)


def test_small_generators_on_a_cpu_are_recorded():
    small, large = Whole(MOST_SIDE_PX), Whole(2 * MOST_SIDE_PX)
    for generator, device in ((small, torch.device("cuda")), (large, CPU), (object(), CPU)):
        trace_synthesis(generator, 2, device)
    assert not any(isinstance(one.network.synthesise, TracedSynthesis) for one in (small, large))
    trace_synthesis(small, 2, CPU)
    once = small.network.synthesise
    assert isinstance(once, TracedSynthesis)
    trace_synthesis(small, 2, CPU)
    assert small.network.synthesise is once


class Keyed:
    """A plugin's network: its method is called by name, and returns what it likes."""

    def synthesise(self, *, z):
        """Twice `z`."""
        return 2 * z


def test_a_plugin_s_network_is_called_as_it_was_written():
    plugin = Whole(MOST_SIDE_PX)
    plugin.network = Keyed()
    for device in (CPU, torch.device("cuda")):
        trace_synthesis(plugin, 2, device)
        fuse_synthesis(plugin, 2, device)
    assert plugin.network.synthesise(z=3) == 6
