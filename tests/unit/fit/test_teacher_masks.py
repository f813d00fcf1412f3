"""Pixels with the classes of a teacher: rejected masks and unclaimed pixels are left out."""

import dataclasses
import threading

import pytest
import torch
from fit_context import make_context
from plugins.mixing_plugins import Parts

from factory.data import IGNORE
from factory.errors import Interrupted
from factory.fit.progress import Progress
from factory.fit.teacher_masks import collect_labelled_pixels
from factory.generate.batch import MaskBatch

LAYERS = ("s16",)


class Teacher:
    """The toy's exact masks, changed by a function of the batch."""

    def __init__(self, context, change=lambda masks: masks):
        self._parts = Parts(None, None, context.generator.facts, torch.device("cpu"))
        self._change = change
        self.labels, self.layers = self._parts.labels, self._parts.layers

    def segment(self, batch):
        return self._change(self._parts.segment(batch))


def collect(context, teacher, **changed):
    counts = {"num_images": 5, "pixels_per_image": 20, "seed": 0} | changed
    return collect_labelled_pixels(context, teacher, LAYERS, **counts)


@pytest.fixture
def context(tmp_path):
    return make_context(tmp_path)


def test_every_image_gives_its_pixels_and_no_more_images_are_made_than_asked(context):
    found = collect(context, Teacher(context))
    assert [len(pixels.ids) for pixels in found.kept] == [20] * 5
    channels = context.generator.facts.layers["s16"].channels
    assert {pixels.vectors.shape for pixels in found.kept} == {(20, channels)}
    assert not found.rejected


def test_a_class_is_that_of_the_mask_at_the_pixel(context):
    def halves(masks: MaskBatch) -> MaskBatch:
        changed = torch.zeros_like(masks.masks)
        changed[:, :, changed.shape[2] // 2 :] = 1
        return dataclasses.replace(masks, masks=changed)

    whole = collect(context, Teacher(context, halves), pixels_per_image=400)
    shares = [float(pixels.ids.float().mean()) for pixels in whole.kept]
    assert all(0.4 < share < 0.6 for share in shares)
    assert set(torch.cat([pixels.ids for pixels in whole.kept]).tolist()) == {0, 1}


def test_pixels_of_no_class_are_left_out(context):
    def upper_half(masks: MaskBatch) -> MaskBatch:
        changed = torch.ones_like(masks.masks)
        changed[:, : changed.shape[1] // 2] = IGNORE
        return dataclasses.replace(masks, masks=changed)

    found = collect(context, Teacher(context, upper_half), pixels_per_image=200)
    assert all(60 < len(pixels.ids) < 140 for pixels in found.kept)
    assert {int(pixels.ids.max()) for pixels in found.kept} == {1}


def test_masks_that_the_teacher_rejects_are_counted_by_reason(context):
    def first_of_each(masks: MaskBatch) -> MaskBatch:
        words = ("dark", *[""] * (len(masks.masks) - 1))
        return dataclasses.replace(masks, rejections=words)

    found = collect(context, Teacher(context, first_of_each))
    assert found.rejected == {"dark": 2}
    assert len(found.kept) == 3


def test_the_same_seed_reads_the_same_pixels_and_another_one_others(context):
    first, again, other = (collect(context, Teacher(context), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.kept[4].vectors, again.kept[4].vectors)
    assert not torch.equal(first.kept[4].vectors, other.kept[4].vectors)


def test_a_stop_ends_the_labelling(context):
    stop = threading.Event()
    stop.set()
    stopped = dataclasses.replace(context, progress=Progress(lambda *_: None, stop))
    with pytest.raises(Interrupted):
        collect(stopped, Teacher(context))
