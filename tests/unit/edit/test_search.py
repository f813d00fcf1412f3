from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_head import ToyHead

from factory.edit.cost import measure_search
from factory.edit.search import LayoutSampler
from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.spec import GeneratorSpec, LatentsSpec, LayoutSpec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def toy():
    return load_generator(GeneratorSpec(kind="shapes"), None, device=CPU)


def search(toy, head=None, **settings):
    spec = LayoutSpec(kind="layout", layouts="x", **settings)
    sampler = LatentSampler(toy, LatentsSpec(seed=5), GeneratorSpec(kind="shapes"))
    return LayoutSampler(spec, toy, head or ToyHead(toy), sampler), sampler


def layouts_of(toy, sampler, indices):
    return toy.masks(sampler.draw(indices))


FAST = {"candidates": 4, "steps": 12, "learning_rate": 0.1}


def test_moving_latents_finds_layouts_that_candidates_do_not_have(toy):
    finder, sampler = search(toy, **FAST)
    wanted = layouts_of(toy, sampler, range(100, 104))
    found = finder.find(sampler.draw(range(4)), wanted)
    ranked = search(toy, method="ranked", candidates=4)[0].find(sampler.draw(range(4)), wanted)
    assert float(found.iou.mean()) > float(found.start_iou.mean()) + 0.1
    assert float(found.iou.mean()) > float(ranked.iou.mean()) + 0.1
    assert (found.iou >= found.start_iou - 0.02).all()
    assert (found.num_forwards, found.num_steps) == (18, 12)
    assert (ranked.num_forwards, ranked.num_steps) == (5, 0)


@pytest.mark.parametrize("settings", [FAST, {**FAST, "latents": "per_layer"}], ids=["one", "rows"])
def test_the_same_batch_gives_the_same_bytes(toy, settings):
    finder, sampler = search(toy, **settings)
    wanted = layouts_of(toy, sampler, range(100, 103))
    first, again = (finder.find(sampler.draw(range(3)), wanted) for _ in range(2))
    assert torch.equal(first.batch.images, again.batch.images)
    assert torch.equal(first.z, again.z)
    assert first.z.shape[1] == (2 if "latents" in settings else 1)


def test_a_sample_s_candidates_are_its_own(toy):
    finder, sampler = search(toy, method="ranked", candidates=5)
    wanted = layouts_of(toy, sampler, range(100, 103))
    three = finder.find(sampler.draw(range(3)), wanted)
    alone = finder.find(sampler.draw([1]), wanted[1:2])
    assert np.array_equal(three.latents.z[1], alone.latents.z[0])


def test_the_best_of_all_candidates_is_ranked_first(toy):
    finder, sampler = search(toy, method="ranked", candidates=6)
    latents = sampler.draw(range(2))
    fourth = sampler.draw_candidate(latents, 4)
    found = finder.find(latents, ToyHead(toy).segment(toy.generate(fourth, ["s32"])).masks.long())
    assert np.array_equal(found.latents.z, fourth.z)
    assert found.iou.tolist() == [1.0, 1.0]
    assert sampler.draw_candidate(latents, 0) is latents


def test_what_has_no_gradients_is_refused_with_what_serves_it(toy):
    class Blind:
        labels, layers = ToyHead.labels, ()

        def segment(self, batch):
            raise AssertionError("no mask is needed")

    with pytest.raises(JobError, match=r"no scores of classes .*`sampling.method: ranked` works"):
        search(toy, Blind())
    search(toy, Blind(), method="ranked")
    bare = type("Bare", (), {"facts": toy.facts, "draw_z": toy.draw_z, "generate": toy.generate})
    spec = LayoutSpec(kind="layout", layouts="x")
    with pytest.raises(JobError, match="generator has no gradients"):
        LayoutSampler(spec, bare(), ToyHead(toy), search(toy)[1])


def test_one_latent_per_layer_needs_style_rows(toy, monkeypatch):
    monkeypatch.setattr(type(toy), "latent_rows", 1)
    with pytest.raises(JobError, match="'per_layer', but this generator has no style rows"):
        search(toy, latents="per_layer")


def test_the_cost_of_a_search_is_measured(toy):
    finder, sampler = search(toy, **FAST)
    latents = sampler.draw(range(3))
    wanted = layouts_of(toy, sampler, range(3))
    cost = measure_search(finder.spec, toy, ToyHead(toy), latents, wanted, 1.0)
    assert cost.num_forwards == 18
    assert cost.batch_s > 0
    # What the gradients need grows with the batch, and holds at least the scores of all pixels.
    assert cost.memory_bytes > 3 * 4 * 32 * 32 * 4
    half = replace(
        latents, indices=latents.indices[:1], z=latents.z[:1], class_labels=latents.class_labels[:1]
    )
    smaller = measure_search(finder.spec, toy, ToyHead(toy), half, wanted[:1], 1.0)
    assert smaller.memory_bytes < cost.memory_bytes
    ranked = search(toy, method="ranked", candidates=7)[0].spec
    assert measure_search(ranked, toy, ToyHead(toy), latents, wanted, 2.0).batch_s == 14.0
