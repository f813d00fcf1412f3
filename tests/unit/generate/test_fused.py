"""Compiled synthesis, on a CPU: what is captured, when it is used, and what a failure leaves."""

import logging

import pytest
import torch

from factory.generate.fused import UNCOMPILED, FusedSynthesis, fuse_synthesis, synthesis_version

pytestmark = pytest.mark.slow
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def synthesise(ws, noise, wanted=()):
    """A function for the compiler, beside the package's, which check shapes in tests."""
    image = torch.sin(ws) * 2 + noise["layer"]
    return image, dict.fromkeys(wanted, image.exp())


WS, NOISE = torch.linspace(0, 1, 8).reshape(2, 4), {"layer": torch.ones(1, 4)}


def test_only_batches_of_the_dataset_s_size_are_compiled():
    """Otherwise a sample's bytes would depend on what was called before."""
    seen = []

    def noting(graph, inputs):
        seen.append(len(inputs))
        return graph.forward

    with torch.no_grad():
        fused = FusedSynthesis(synthesise, 2, noting)
        assert torch.equal(fused(WS[:1], NOISE)[0], synthesise(WS[:1], NOISE)[0])
        assert not seen
        for _ in range(2):
            images, maps = fused(WS, NOISE, ("b4",))
        assert len(seen) == 1
        assert torch.equal(images, synthesise(WS, NOISE)[0])
        assert maps.keys() == {"b4"}
    fused(WS.clone().requires_grad_(), NOISE)[0].sum().backward()
    assert len(seen) == 1


@torch.inference_mode()
def test_a_compiler_that_fails_is_logged_once_and_done_without(caplog):
    def broken(graph, inputs):
        raise RuntimeError("no such\ninstruction")

    fused = FusedSynthesis(synthesise, 2, broken)
    with caplog.at_level(logging.WARNING, logger="factory"):
        for _ in range(2):
            images, _ = fused(WS, NOISE)
    assert torch.equal(images, synthesise(WS, NOISE)[0])
    assert not fused.is_compiled
    said = [record.getMessage() for record in caplog.records if "synthesis" in record.getMessage()]
    assert len(said) == 1
    assert "no such instruction" in said[0]


@torch.inference_mode()
def test_a_gpu_without_room_is_no_failure_of_the_compiler():
    def full(graph, inputs):
        def run(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        return run

    fused = FusedSynthesis(synthesise, 2, full)
    with pytest.raises(torch.OutOfMemoryError):
        fused(WS, NOISE)
    assert fused.is_compiled


class Network:
    """What a generator of ours has."""

    __module__ = "factory.generate"

    def synthesise(self, *_):
        """Nothing."""


class Whole:
    """A generator around a network."""

    def __init__(self):
        self.network = Network()


def test_a_cpu_compiles_nothing_and_its_receipts_say_nothing_of_it():
    generator = Whole()
    fuse_synthesis(generator, 2, CPU)
    assert not isinstance(generator.network.synthesise, FusedSynthesis)
    assert synthesis_version(generator, CPU) == {}


def test_a_gpu_s_receipts_say_whether_it_was_compiled(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/tmp/compiled")
    generator = Whole()
    assert synthesis_version(generator, GPU) == {"synthesis": UNCOMPILED}
    fuse_synthesis(generator, 2, GPU)
    fused = generator.network.synthesise
    assert isinstance(fused, FusedSynthesis)
    fuse_synthesis(generator, 2, GPU)
    assert generator.network.synthesise is fused
    fused._compiled = None  # as after a failure
    assert synthesis_version(generator, GPU) == {"synthesis": UNCOMPILED}
    fuse_synthesis(object(), 2, GPU)  # a plugin has no network of ours
