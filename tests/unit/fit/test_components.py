from dataclasses import replace

import pytest
import torch
from fit_context import context_of, make_context, mixture
from small_job import small_job

from factory.fit.klish import choose_pixels, fit_klish
from factory.fit.pixels import components as by_components
from factory.fit.pixels.components import MOST_COMPONENTS, find_components
from factory.fit.pixels.part import Part
from factory.fit.pixels.pool import one_thread
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.hierarchy import read_hierarchy


def low_rank(count=3000, widths=(400, 60), ranks=(20, 10), scales=(100.0, 0.01)):
    """Layers of few directions each, whose norms differ ten thousandfold, with a little noise."""
    torch.manual_seed(3)
    blocks = [
        scale * (torch.randn(count, r) @ torch.randn(r, w) + 0.01 * torch.randn(count, w) + 5)
        for w, r, scale in zip(widths, ranks, scales, strict=True)
    ]
    return torch.cat(blocks, dim=1), widths


def test_short_vectors_are_left_as_they_are():
    assert find_components(torch.randn(50, MOST_COMPONENTS), [MOST_COMPONENTS]) is None


def test_columns_are_orthonormal_and_each_is_of_one_layer():
    vectors, widths = low_rank()
    columns = find_components(vectors, widths)
    assert columns.shape == (460, MOST_COMPONENTS)
    assert torch.allclose(columns.T @ columns, torch.eye(MOST_COMPONENTS), atol=1e-5)
    in_first = columns[:400].square().sum(dim=0)
    assert ((in_first < 1e-6) | (in_first > 1 - 1e-5)).all()


def test_a_layer_of_small_norms_keeps_its_directions_too():
    vectors, widths = low_rank()
    columns = find_components(vectors, widths)
    away = vectors - vectors.mean(dim=0)
    for block in (slice(0, 400), slice(400, 460)):
        kept = (away[:, block] @ columns[block]).square().sum()
        assert kept / away[:, block].square().sum() > 0.9999


def test_pixels_are_replaced_in_their_own_memory(tmp_path):
    vectors, widths = low_rank()
    columns = find_components(vectors, widths)
    pool = context_of(tmp_path, vectors).pool
    places = [part._vectors.data_ptr() for part in pool.parts]
    pool.update("project", columns)
    shorter = torch.cat([part._vectors for part in pool.parts])
    assert torch.allclose(shorter, vectors @ columns, rtol=1e-4, atol=1e-2)
    assert [part._vectors.data_ptr() for part in pool.parts] == places


@pytest.mark.slow
def test_a_fit_over_components_gives_planes_over_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(by_components, "MOST_COMPONENTS", 10)
    segmenter = {"kind": "klish", "initial_clusters": 12, "fit": {"num_images": 20}}
    dataset = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset
    with one_thread(), torch.inference_mode():
        context = make_context(tmp_path, dataset)
        tensors, facts = decode_segmenter(fit_klish(dataset.segmenter, context), source="it")
        components = context.checkpoint.load()["components"]
        held = torch.cat([part._scores for part in context.pool.parts])
        planes = read_hierarchy(tensors).planes
        assert planes.shape == (22, 33)
        inside = planes[:, :-1] @ components @ components.T
        assert torch.allclose(inside, planes[:, :-1], atol=1e-3 * float(planes.abs().max()))
        context.sample(
            replace(choose_pixels(dataset.segmenter, context.pool.facts), seed=2**62), ""
        )
        raw = torch.cat([part._vectors for part in context.pool.parts])
    scores = raw @ planes[:, :-1].T + planes[:, -1]
    # Of the planes at the end, the last one took the column of a cluster that it was made of.
    last = [float((held - scores[:, 21:]).abs().mean(dim=0).min())]
    assert max(last) < 1e-3 * float(scores[:, 21].abs().mean())
    assert facts.layers == ["s8", "s16", "s32"]


def test_every_other_pixel_has_the_losses_of_a_part_with_only_those(tmp_path):
    vectors, ids, planes = mixture(1600)
    whole = context_of(tmp_path, vectors, ids).pool
    for part in whole.parts:
        thin = Part(0, part._generator, part._dataset, torch.device("cpu"))
        thin.use(part._vectors[::4].contiguous())
        thin._owners = part._owners[::4].contiguous()
        columns = torch.arange(4)
        for method in ("hinge", "curve"):
            for some, all_of_thin in zip(
                getattr(part, method)(columns, planes, 4),
                getattr(thin, method)(columns, planes),
                strict=True,
            ):
                assert torch.allclose(some, all_of_thin, rtol=1e-5)
