"""Masks by a latent direction: on the toy, whose exact masks are known, and what is rejected."""

import dataclasses

import numpy as np
import pytest
import torch
from contract.test_generators import build, draw
from foreground_scores import foreground_ious
from small_job import small_job

from factory.errors import JobError, PluginError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.manifest.labels import MaskClass
from factory.segment.base import count_passes, load_segmenter
from factory.segment.direction.segmenter import (
    LENGTHS_NAME,
    MARGINS_NAME,
    STORED_LENGTH,
    DirectionMasks,
    direction_name,
    find_doubts,
)
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter
from factory.segment.serving import check_generator
from factory.spec.direction import DirectionSpec

CPU = torch.device("cpu")
ALL = {"foreground_share": [0.0, 1.0], "two_modes": "off"}
"""Settings that reject nothing."""


def ideal(sign):
    """The toy's direction: the parts become lighter and the ground darker, or the other way round."""
    direction = torch.zeros(16)
    direction[4:7], direction[7:] = -1.0, 1.0
    return (direction if sign == "light" else -direction) / direction.norm()


def file_of(folder, directions, space="z", **figures):
    tensors = {direction_name(sign, space): one for sign, one in directions.items()}
    tensors[LENGTHS_NAME] = torch.tensor([1.0, 5.0, 10.0])
    tensors[MARGINS_NAME] = torch.tensor([0.1, 0.5, 1.0])
    facts = SegmenterFacts(
        kind="direction",
        generator_kind="shapes",
        weights_sha256="",
        layers=[],
        labels=[
            MaskClass(id=0, name="background", colour=(0, 0, 0)),
            MaskClass(id=1, name="foreground", colour=(9, 9, 9)),
        ],
        margin_scale=1.0,
        fitted_on=figures,
    )
    path = folder / "segmenter.safetensors"
    path.write_bytes(encode_segmenter(tensors, facts))
    return path


@pytest.fixture(scope="module")
def toy():
    return build("shapes")


def masks_of(toy, folder, indices=range(12), directions=None, **settings):
    spec = DirectionSpec(**settings)
    directions = directions or {sign: ideal(sign) for sign in spec.signs}
    segmenter = DirectionMasks(spec, file_of(folder, directions), toy.facts, CPU)
    latents = draw(toy, indices)
    with torch.inference_mode():
        return segmenter.segment_latents(toy, latents, toy.generate(latents, ()))


def iou(toy, found, indices=range(12)):
    truth = toy.masks(draw(toy, indices)).numpy() > 0
    return foreground_ious(found.masks.numpy() == 1, truth)


@pytest.mark.parametrize("masks", ["both", "light", "dark"])
def test_the_foreground_of_the_toy_is_all_but_its_ground(toy, tmp_path, masks):
    found = masks_of(toy, tmp_path, masks=masks, **ALL)
    assert (iou(toy, found) == 1).all()
    assert found.rejections == ("",) * 12
    assert (found.class_px[:, 1] == (found.masks == 1).sum(dim=(1, 2))).all()


def test_confidence_is_the_difference_in_brightness_on_the_scale_of_the_fit(toy, tmp_path):
    found = masks_of(toy, tmp_path, **ALL)
    wider = masks_of(toy, tmp_path, epsilon=10, **ALL)
    step = 2 * 5 * 25 / 12**0.5 * sum((0.2989, 0.5870, 0.1140)) / 127.5
    expected = step / (step + 0.5)
    assert found.confidence_by_px.numpy() == pytest.approx(expected, abs=0.02)
    assert found.confidence.numpy() == pytest.approx(expected, abs=0.02)
    assert wider.confidence.numpy() == pytest.approx(expected, abs=0.02), "ten times as far: alike"


def test_parts_that_are_too_small_are_background_without_confidence(toy, tmp_path):
    whole = masks_of(toy, tmp_path, min_part=0.0, **ALL)
    found = masks_of(toy, tmp_path, min_part=1.0, **ALL)
    gone = (whole.masks == 1) & (found.masks == 0)
    assert gone.any(), "nothing is larger than the largest"
    assert (found.confidence_by_px[gone] == 0).all()
    assert (found.confidence_by_px[~gone] > 0).all()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"foreground_share": [0.9, 1.0]}, "foreground_too_small"),
        ({"foreground_share": [0.0, 0.1]}, "foreground_too_large"),
        ({"min_roundness": 0.9}, "not_round"),
    ],
)
def test_what_breaks_a_rule_says_which(toy, tmp_path, settings, reason):
    assert set(masks_of(toy, tmp_path, **(ALL | settings)).rejections) == {reason}


def test_the_first_broken_rule_is_the_one_that_is_told(toy, tmp_path):
    settings = {"foreground_share": [0.0, 0.1], "min_roundness": 0.9}
    assert set(masks_of(toy, tmp_path, **settings).rejections) == {"foreground_too_large"}


def nowhere():
    """A direction that makes everything darker, so that it has no foreground."""
    direction = torch.zeros(16)
    direction[4:] = -1.0
    return direction / direction.norm()


def test_an_empty_mask_is_rejected_although_the_authors_keep_it(toy, tmp_path):
    directions = {"light": nowhere()}
    ours = masks_of(toy, tmp_path, directions=directions, masks="light", two_modes="off")
    theirs = masks_of(
        toy,
        tmp_path,
        directions=directions,
        masks="light",
        two_modes="off",
        foreground_share=[0, 0.5],
    )
    assert not ours.masks.any()
    assert set(ours.rejections) == {"foreground_too_small"}
    assert set(theirs.rejections) == {""}


def test_each_direction_s_own_mask_is_tested_too(toy, tmp_path):
    # Everything becomes darker, the ground more so: both together tell it apart.
    dim = torch.zeros(16)
    dim[4:7], dim[7:] = -1.0, -0.3
    directions = {"light": dim / dim.norm(), "dark": ideal("dark")}
    both = masks_of(toy, tmp_path, directions=directions, **ALL)
    assert (iou(toy, both) == 1).all()
    found = masks_of(toy, tmp_path, directions=directions, two_modes="off")
    assert set(found.rejections) == {"foreground_too_small"}, "of the light direction alone"


def test_directions_that_disagree_can_be_rejected(toy, tmp_path):
    directions = {"light": nowhere(), "dark": ideal("dark")}
    found = masks_of(toy, tmp_path, directions=directions, min_overlap=0.99, **ALL)
    assert set(found.rejections) == {"directions_disagree"}
    agreeing = masks_of(toy, tmp_path, min_overlap=0.99, **ALL)
    assert set(agreeing.rejections) == {""}


def test_a_shift_without_two_modes_is_rejected(toy, tmp_path):
    far = masks_of(toy, tmp_path, epsilon=9, foreground_share=[0, 1])
    assert "one_mode" in far.rejections or "" in far.rejections
    nothing = masks_of(toy, tmp_path, epsilon=1e-3, foreground_share=[0, 1])
    assert sum(r == "one_mode" for r in nothing.rejections) > sum(
        r == "one_mode" for r in far.rejections
    )


def test_a_mask_does_not_depend_on_the_batch(toy, tmp_path):
    together = masks_of(toy, tmp_path)
    alone = masks_of(toy, tmp_path, [5])
    assert torch.equal(together.masks[5], alone.masks[0])
    assert together.rejections[5] == alone.rejections[0]


def test_a_file_for_another_latent_space_is_refused(toy, tmp_path):
    path = file_of(tmp_path, {"light": torch.ones(5)})
    with pytest.raises(JobError, match=r"holds light in 'z'.*its generator has z; fit it again"):
        DirectionMasks(DirectionSpec(masks="light"), path, toy.facts, CPU)


def test_a_file_without_the_direction_that_the_job_wants_is_refused(toy, tmp_path):
    path = file_of(tmp_path, {"light": ideal("light")})
    with pytest.raises(JobError, match="where this job needs light, dark"):
        DirectionMasks(DirectionSpec(), path, toy.facts, CPU)


def test_a_file_of_another_method_is_refused(toy, tmp_path):
    path = tmp_path / "head.safetensors"
    facts = SegmenterFacts(
        kind="kmeans",
        generator_kind="shapes",
        weights_sha256="",
        layers=[],
        labels=[],
        margin_scale=1.0,
        fitted_on={},
    )
    path.write_bytes(encode_segmenter({"bias": torch.zeros(2)}, facts))
    with pytest.raises(JobError, match="holds no latent direction"):
        DirectionMasks(DirectionSpec(), path, toy.facts, CPU)


def test_a_generator_whose_latents_cannot_be_moved_is_told_what_works_there():
    facts = GeneratorFacts(32, 0, (), {"x": LayerShape(1, 32, 32)})
    with pytest.raises(
        JobError, match="no latents that can be moved; methods that work on it: klish, kmeans"
    ):
        check_generator("direction", facts)


def test_a_generator_that_states_spaces_and_cannot_shift_is_a_plugin_error(toy, tmp_path):
    class Stiff:
        facts = toy.facts
        draw_z, generate = toy.draw_z, toy.generate

    segmenter = DirectionMasks(
        DirectionSpec(), file_of(tmp_path, {s: ideal(s) for s in ("light", "dark")}), toy.facts, CPU
    )
    latents = draw(toy, [0])
    with pytest.raises(PluginError, match="Stiff has latent spaces in its facts, but no method"):
        segmenter.segment_latents(Stiff(), latents, toy.generate(latents, ()))


def test_a_direction_that_was_stored_longer_is_told_with_the_epsilon_that_is_as_far(tmp_path):
    directions = {"light": ideal("light")}
    long = file_of(tmp_path, directions, **{STORED_LENGTH: 22.63}).read_bytes()
    assert "as far as epsilon 113.1" in find_doubts(long, DirectionSpec(masks="light"))[0]
    unit = file_of(tmp_path, directions, **{STORED_LENGTH: 1.0}).read_bytes()
    assert find_doubts(unit, DirectionSpec(masks="light")) == []
    ours = file_of(tmp_path, directions).read_bytes()
    assert find_doubts(ours, DirectionSpec(masks="light")) == []


def test_it_can_be_cleaned_and_judged_like_any_other(toy, tmp_path):
    section = {"kind": "direction", "clean": {"keep": "largest"}}
    spec = small_job(tmp_path, {"dataset.segmenter": section}).dataset.segmenter
    path = file_of(tmp_path, {sign: ideal(sign) for sign in ("light", "dark")})
    segmenter = load_segmenter(spec, path, toy.facts, CPU)
    latents = draw(toy, range(4))
    found = segmenter.segment_latents(toy, latents, toy.generate(latents, ()))
    assert found.cleaned_px is not None
    assert dataclasses.is_dataclass(found)
    assert np.isfinite(found.confidence.numpy()).all()


def test_whoever_changes_its_masks_says_how_often_the_generator_runs(toy, tmp_path):
    path = file_of(tmp_path, {sign: ideal(sign) for sign in ("light", "dark")})
    section = {"kind": "direction", "clean": {"keep": "largest"}}
    cleaned = small_job(tmp_path, {"dataset.segmenter": section}).dataset.segmenter
    assert count_passes(load_segmenter(cleaned, path, toy.facts, CPU)) == 4
    single = DirectionMasks(DirectionSpec(masks="dark"), path, toy.facts, CPU)
    assert count_passes(single) == 3
    mixing = small_job(tmp_path, {"dataset.segmenter": {"kind": "style_mixing"}}).dataset.segmenter
    assert count_passes(load_segmenter(mixing, None, toy.facts, CPU)) is None, "parts of passes"
