"""What is recomputed of a sample: the confidence of its mask from that of its pixels."""

import numpy as np
import pytest

from factory.data import IGNORE, Sample
from factory.pack.contents import _check_confidence
from factory.pack.facts import make_facts

MASK = np.array([[0, 0, 0, 1], [0, 0, 0, IGNORE]], dtype=np.uint8)
BY_PX = np.where(MASK == 1, 51, 204).astype(np.uint8) * (MASK != IGNORE)
OVER_PIXELS, OVER_CLASSES = (6 * 0.8 + 0.2) / 7, 0.5


def problems(confidence, *, is_iou):
    image = np.zeros((2, 4, 3), np.uint8)
    sample = Sample(0, image, MASK, -1, confidence, (6, 1))
    facts = make_facts(sample, dataset_id="d" * 16, class_names=())
    return list(_check_confidence(BY_PX, MASK, facts, is_iou=is_iou))


@pytest.mark.parametrize(
    ("confidence", "is_right"),
    [(OVER_PIXELS, True), (OVER_PIXELS + 0.01, False), (OVER_PIXELS - 0.01, False)],
)
def test_a_mean_is_that_of_the_pixels(confidence, is_right):
    assert (not problems(confidence, is_iou=False)) == is_right


@pytest.mark.parametrize(
    ("confidence", "is_right"),
    [(OVER_CLASSES, True), (0.3, True), (OVER_CLASSES + 0.01, False), (OVER_PIXELS, False)],
)
def test_an_expected_iou_is_at_most_the_mean_over_the_classes(confidence, is_right):
    assert (not problems(confidence, is_iou=True)) == is_right
