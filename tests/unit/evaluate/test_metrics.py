import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from factory.evaluate.contingency import count_pair, gather
from factory.evaluate.metrics import (
    UNASSIGNED,
    adjusted_mutual_information,
    expected_mutual_information,
    iou_global,
    iou_per_image,
    overlaps,
    pixel_accuracy,
    v_measure,
)
from factory.segment.agreement import adjusted_rand

LABELLINGS = st.integers(1, 120).flatmap(
    lambda n: st.tuples(
        *[st.lists(st.integers(0, 5), min_size=n, max_size=n).map(np.array) for _ in range(2)]
    )
)


def table(truth, found):
    counts = np.zeros((6, 6), np.int64)
    np.add.at(counts, (truth, found), 1)
    return counts


def scores(counts):
    parts = v_measure(counts)
    return [
        adjusted_rand(counts),
        adjusted_mutual_information(counts),
        parts.homogeneity,
        parts.completeness,
        parts.v_measure,
    ]


@pytest.mark.slow
@given(LABELLINGS)
def test_partitions_are_scored_as_by_scikit_learn(labellings):
    truth, found = labellings
    expected = [
        sklearn_metrics.adjusted_rand_score(truth, found),
        sklearn_metrics.adjusted_mutual_info_score(truth, found),
        *sklearn_metrics.homogeneity_completeness_v_measure(truth, found),
    ]
    assert scores(table(truth, found)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@given(LABELLINGS, st.permutations(range(6)), st.permutations(range(6)))
def test_what_labels_are_called_does_not_matter(labellings, classes, clusters):
    counts = table(*labellings)
    assert scores(counts[classes][:, clusters]) == pytest.approx(scores(counts), abs=1e-12)


@given(LABELLINGS)
def test_equal_partitions_score_one(labellings):
    assert scores(table(labellings[0], labellings[0])) == pytest.approx([1] * 5, abs=1e-9)


def test_chance_scores_zero_where_it_is_adjusted_for_and_not_elsewhere():
    rng = np.random.default_rng(0)
    ari, ami, _, _, v = scores(table(rng.integers(0, 6, 300), rng.integers(0, 6, 300)))
    assert abs(ari) < 0.02
    assert abs(ami) < 0.02
    assert v > 0.02


def test_values_that_are_computed_by_hand():
    counts = np.array([[2, 1], [0, 1]])
    # pairs together in both: 1; in the reference: 3; in the clusters: 1 + 1; of 6 in all
    assert adjusted_rand(counts) == pytest.approx((1 - 3 * 2 / 6) / ((3 + 2) / 2 - 3 * 2 / 6))
    shared = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert v_measure(counts).homogeneity == pytest.approx(shared / entropy)
    assert v_measure(counts).completeness == pytest.approx(shared / math.log(2))
    # the single pixel of class 1 falls into either cluster of two: always the same information
    assert expected_mutual_information(np.array([3, 1]), np.array([2, 2])) == pytest.approx(shared)
    assert adjusted_mutual_information(counts) == pytest.approx(0, abs=1e-12)


def test_chance_is_exact_for_counts_of_millions_and_quick():
    rng = np.random.default_rng(1)
    counts = rng.multinomial(50_000_000, rng.dirichlet(np.ones(19 * 26))).reshape(19, 26)
    started = time.perf_counter()
    chance = expected_mutual_information(counts.sum(axis=1), counts.sum(axis=0))
    assert time.perf_counter() - started < 10
    # for large counts, degrees of freedom over twice the pixels
    assert chance == pytest.approx(18 * 25 / 2 / 50_000_000, rel=1e-4)


def test_pairs_beyond_64_bits_are_counted():
    counts = np.array([[4 * 10**11, 10**9], [10**9, 5 * 10**11]])
    small = counts // 10**8
    assert adjusted_rand(counts) == pytest.approx(adjusted_rand(small), rel=1e-3)


def tabled(*pairs):
    as_masks = [[np.array([side], np.uint8) for side in pair] for pair in pairs]
    return gather([count_pair(str(i), *pair) for i, pair in enumerate(as_masks)])


IDENTITY = np.arange(3)


def test_iou_per_image_and_over_all_pixels_differ_where_sizes_do():
    counts = overlaps(tabled(([0, 0, 0, 0, 0, 0, 0, 1], [0] * 8), ([1] * 8, [1] * 8)), IDENTITY, 3)
    assert iou_per_image(counts)[:2].tolist() == [7 / 8, (0 + 1) / 2]
    assert iou_global(counts)[:2].tolist() == [7 / 8, 8 / 9]
    assert np.isnan([iou_per_image(counts)[2], iou_global(counts)[2]]).all()
    assert pixel_accuracy(counts, np.array([True, True, False])) == 15 / 16
    assert pixel_accuracy(counts, np.array([True, False, False])) == 1


def test_a_class_that_an_image_lacks_is_skipped_there_but_counts_among_all_pixels():
    counts = overlaps(tabled(([0, 0], [0, 1]), ([1, 1], [1, 1])), IDENTITY, 3)
    assert iou_per_image(counts)[:2].tolist() == [1 / 2, 1]
    assert iou_global(counts)[:2].tolist() == [1 / 2, 2 / 3]


def test_pixels_of_an_unassigned_cluster_are_wrong():
    counts = overlaps(tabled(([0, 0, 1], [0, 1, 2])), np.array([0, UNASSIGNED, 1]), 2)
    assert iou_global(counts).tolist() == [1 / 2, 1]
    assert pixel_accuracy(counts, np.array([True, True])) == 2 / 3


def test_255_on_either_side_leaves_a_pixel_out():
    counts = tabled(([0, 255, 1, 1], [0, 1, 255, 1]))
    assert counts.pooled(2, 2).tolist() == [[1, 0], [0, 1]]
    assert counts.num_px.tolist() == [4]


def test_halves_share_no_image_and_do_not_follow_the_order():
    whole = tabled(*[([i % 2, 0], [0, 1]) for i in range(400)])
    first, second = whole.halves()
    assert set(first.keys) | set(second.keys) == set(whole.keys)
    assert not set(first.keys) & set(second.keys)
    assert 150 < len(first.keys) < 250
    for half in (first, second):
        assert 0.35 < half.pooled(2, 2)[1].sum() / len(half.keys) < 0.65
        assert half.num_px.tolist() == [2] * len(half.keys)
    assert whole.pooled(2, 2).tolist() == (first.pooled(2, 2) + second.pooled(2, 2)).tolist()
