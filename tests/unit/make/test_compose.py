"""Composites of batches made by hand."""

import numpy as np
import pytest
import torch
from small_job import small_job

from factory.data import LatentBatch
from factory.generate.batch import ImageBatch, MaskBatch
from factory.make.backgrounds import make_backgrounds
from factory.make.compose import BEHIND_REJECTED, Composer, find_objects
from factory.manifest.labels import MaskClass
from factory.segment.mask_figures import count_px
from factory.spec import ComposeSpec

NAMES = ("background", "cat")
LABELS = tuple(MaskClass(id=k, name=name, colour=(k, 0, 0)) for k, name in enumerate(NAMES))
MASKS = torch.tensor([[[1, 0], [255, 0]], [[0, 1], [0, 0]], [[1, 1], [1, 0]]], dtype=torch.uint8)
CONFIDENCE = torch.tensor([[[0.8, 0.6], [0.0, 0.4]], [[1, 1], [0.5, 0.2]], [[1, 1], [1, 1]]])


def latents(count=3):
    z, labels = np.zeros((count, 2), np.float32), np.full(count, -1)
    return LatentBatch(np.arange(4, 4 + count), z, labels, 1.0, None, None)


def images():
    grey = torch.tensor([0, 100, 200], dtype=torch.uint8)
    return ImageBatch(grey[:, None, None, None].expand(3, 2, 2, 3).contiguous(), {})


def masks(**more):
    mean = torch.tensor([0.6, 0.675, 1.0])
    return MaskBatch(MASKS, mean, count_px(MASKS, 2), CONFIDENCE, **more)


def composer(folder, backgrounds=None, **segmenter):
    kind = (
        {"background": "folder", "folder": "x"} if backgrounds else {"background": "other_sample"}
    )
    overrides = {f"dataset.segmenter.{key}": value for key, value in segmenter.items()}
    spec = small_job(folder, {"dataset.compose": kind, "dataset.latents.seed": 3} | overrides)
    return Composer(spec.dataset, LABELS, backgrounds)


def test_a_composite_shows_its_object_and_the_next_sample_and_says_so(tmp_path):
    made = composer(tmp_path).compose(images(), masks(), latents())
    assert made.names[:2] == ("000000005", "000000006")
    assert made.batch.images[0, :, :, 0].tolist() == [[0, 100], [100, 100]]
    # What no class claimed is not pasted: the other sample shows, and its class with it.
    assert made.labelled.masks[0].tolist() == [[1, 1], [0, 0]]
    assert made.labelled.class_px[0].tolist() == [2, 2]


def test_where_the_background_shows_both_masks_must_be_right(tmp_path):
    made = composer(tmp_path).compose(images(), masks(), latents()).labelled
    expected = [[0.8, 0.6], [0.0, 0.2]]
    assert made.confidence_by_px[0].numpy() == pytest.approx(np.array(expected))
    assert float(made.confidence[0]) == pytest.approx(np.mean(expected))


def test_an_expected_iou_is_at_most_that_of_either_sample_and_of_the_classes(tmp_path):
    made = composer(tmp_path, confidence="agreement").compose(images(), masks(), latents())
    found = made.labelled.confidence.tolist()
    assert found[0] == pytest.approx(np.mean([0.7, 0.1]))
    assert found[1] == pytest.approx(0.516667, abs=1e-6)


def test_what_the_segmenter_rejected_is_neither_object_nor_background(tmp_path):
    told = masks(rejections=("", "small", ""))
    made = composer(tmp_path).compose(images(), told, latents()).labelled
    assert made.rejections[:2] == (BEHIND_REJECTED, "small")


def test_alpha_mixes_colours_and_shares(tmp_path):
    alpha = torch.tensor([[[0.25, 0], [0, 0]], [[0, 0.5], [0, 0]], [[1, 1], [1, 1]]])
    made = composer(tmp_path).compose(images(), masks(alpha=alpha), latents())
    assert made.batch.images[0, :, :, 0].tolist() == [[75, 100], [100, 100]]
    assert made.batch.images[1, :, :, 0].tolist() == [[200, 150], [200, 200]]
    assert made.labelled.alpha[0].tolist() == [[0.25, 0.5], [0, 0]]


def test_a_picture_behind_has_the_only_ground_s_class(tmp_path):
    shown = make_backgrounds([("b", np.full((3, 2, 2), 7, np.uint8))])
    made = composer(tmp_path, shown).compose(images(), masks(), latents())
    assert made.names == ("b", "b", "b")
    assert made.batch.images[0, :, :, 0].tolist() == [[0, 7], [7, 7]]
    assert made.labelled.masks[0].tolist() == [[1, 0], [0, 0]]


def test_objects_are_all_classes_but_the_one_called_background():
    spec = ComposeSpec(background="other_sample")
    assert find_objects(spec, LABELS) == (1,)
    assert find_objects(None, LABELS) == ()
    assert find_objects(spec.model_copy(update={"classes": ["background"]}), LABELS) == (0,)
