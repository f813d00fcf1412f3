import numpy as np
import pytest
import torch
from toy_head import ToyHead

from factory.data import IGNORE
from factory.edit.pairs import PairEditor
from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.spec import EditSpec, GeneratorSpec, LatentsSpec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def toy():
    with torch.inference_mode(mode=False):
        return load_generator(GeneratorSpec(kind="shapes"), None, device=CPU)


def batch_of(toy, *indices):
    return LatentSampler(toy, LatentsSpec(), GeneratorSpec(kind="shapes")).draw(indices)


def grow(mask, _):
    square = mask == 1
    sides = [np.roll(square, step, axis=axis) for step in (1, -1) for axis in (0, 1)]
    around = np.logical_or.reduce(sides) & ~square
    return np.where(around, 1, IGNORE).astype(np.uint8)


def edited(toy, latents, paint=grow, **settings):
    chosen = {"steps": 8, "learning_rate": 0.1} | settings
    spec = EditSpec(change="grow", of=1, **chosen)
    return PairEditor(spec, toy, ToyHead(toy)).edit(latents, paint, CPU)


def test_what_is_before_is_what_a_dataset_without_edits_has(toy):
    latents = batch_of(toy, 3, 4, 5)
    found = edited(toy, latents)
    plain = toy.generate(latents, ToyHead.layers)
    assert torch.equal(found.before[0].images, plain.images)
    assert torch.equal(found.before[1].masks, ToyHead(toy).segment(plain).masks)
    assert not torch.equal(found.after[0].images, plain.images)
    assert (found.num_forwards, found.num_steps) == (11, 8)
    assert [one.painted_px > 0 for one in found.figures] == [True] * 3
    assert np.mean([one.painted_after for one in found.figures]) > 0.3


def test_a_sample_with_nothing_painted_stays_as_it_is_and_does_not_touch_its_neighbours(toy):
    latents = batch_of(toy, 3, 4, 5)
    whole = edited(toy, latents)

    def paint(mask, place):
        return np.full_like(mask, IGNORE) if place == 1 else grow(mask, place)

    part = edited(toy, latents, paint)
    assert torch.equal(part.after[1].masks[1], part.before[1].masks[1])
    assert (part.figures[1].painted_px, part.figures[1].painted_after) == (0, 0.0)
    for place in (0, 2):
        assert torch.equal(part.after[0].images[place], whole.after[0].images[place])


def test_an_edit_is_the_same_every_time_and_another_with_other_settings(toy):
    latents = batch_of(toy, 3, 4, 5)
    found = edited(toy, latents).after[0].images
    assert torch.equal(found, edited(toy, latents).after[0].images)
    assert not torch.equal(found, edited(toy, latents, steps=1).after[0].images)
    assert not torch.equal(found, edited(toy, latents, stay=1.0).after[0].images)


def test_a_segmenter_without_scores_is_refused(toy):
    class Plain:
        labels, layers = ToyHead.labels, ToyHead.layers
        segment = ToyHead.segment

    with pytest.raises(JobError, match=r"dataset\.edit: this segmenter has no scores of classes"):
        PairEditor(EditSpec(change="grow", of=1), toy, Plain())
