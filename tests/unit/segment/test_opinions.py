"""Matched classes, and the agreement of masks by them."""

import numpy as np
import pytest
import torch
from contract.test_generators import build

from factory.errors import DamageError
from factory.segment.opinions import (
    Opinion,
    count_pairs,
    encode_opinions,
    match_classes,
    read_opinions,
)
from factory.spec import AgreementSpec

CPU = torch.device("cpu")


class Nobody:
    """A segmenter that is not asked."""

    labels = layers = ()

    def segment(self, batch):
        raise AssertionError


def masks(*rows):
    return torch.tensor(rows, dtype=torch.uint8)[:, None]


def agreement(matched, ours, theirs):
    return Opinion(Nobody(), matched, CPU).agreement(masks(*ours), masks(*theirs)).tolist()


def test_equal_names_are_matched_by_name_in_any_order():
    matched = match_classes(np.zeros((2, 2), int), ["a", "b"], ["b", "a"])
    assert matched.theirs[:3].tolist() == [1, 0, 255]
    assert agreement(matched, [[0, 0, 1, 1]], [[1, 1, 0, 0]]) == [1.0]


def test_the_side_with_more_classes_is_merged_into_the_other():
    counts = np.array([[9, 0, 3], [1, 8, 4]])
    matched = match_classes(counts, ["a", "b"], ["x", "y", "z"])
    assert matched.theirs[:4].tolist() == [0, 1, 1, 255]
    turned = match_classes(counts.T, ["x", "y", "z"], ["a", "b"])
    assert (turned.ours[:4].tolist(), turned.theirs[:3].tolist()) == ([0, 1, 1, 255], [0, 1, 255])


def test_a_class_that_was_never_seen_and_pixels_of_no_class_are_not_compared():
    matched = match_classes(np.array([[5, 0, 0], [0, 5, 0]]), ["a", "b"], ["x", "y", "z"])
    assert matched.theirs[2] == 255
    assert agreement(matched, [[0, 1, 1, 255]], [[0, 1, 2, 0]]) == [1.0]
    assert agreement(matched, [[0, 0]], [[2, 255]]) == [0.0]


def test_agreement_is_the_mean_iou_of_the_classes_that_either_mask_has():
    matched = match_classes(np.eye(3, dtype=int), list("abc"), list("abc"))
    found = agreement(matched, [[0, 0, 1, 1], [2, 2, 2, 2]], [[0, 1, 1, 1], [2, 2, 2, 2]])
    assert found == pytest.approx([(1 / 2 + 2 / 3) / 2, 1.0])


def test_pairs_are_counted_without_ignored_pixels():
    ours, theirs = masks([0, 1, 1, 255]), masks([2, 0, 0, 1])
    assert count_pairs(ours, theirs, 2, 3).tolist() == [[0, 0, 1], [2, 0, 0]]


@pytest.mark.parametrize("cut", [0, 700, 1800])
def test_a_file_that_is_not_one_of_other_methods_is_told_in_one_line(tmp_path, cut):
    spec = AgreementSpec(others=[{"method": {"kind": "kmeans"}}])
    table = match_classes(np.eye(2, dtype=int), ["a", "b"], ["a", "b"])
    (tmp_path / "x").write_bytes(encode_opinions([b"x"], [table])[:cut])
    with pytest.raises(DamageError, match="there: not the other methods") as caught:
        read_opinions(tmp_path / "x", spec, build("shapes").facts, CPU, source="there")
    assert "\n" not in str(caught.value)
