import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.evaluate.contingency import count_pair, gather
from factory.evaluate.matching import match_greedy, match_names
from factory.evaluate.metrics import UNASSIGNED, iou_per_image, overlaps


def images_of(seed, num_clusters=4):
    rng = np.random.default_rng(seed)
    odds = rng.dirichlet(np.full(num_clusters, 0.4), 3)
    truths = rng.integers(0, 3, (5, 1, 24)).astype(np.uint8)
    masks = [np.array([[rng.choice(num_clusters, p=odds[g]) for g in t[0]]]) for t in truths]
    pairs = enumerate(zip(truths, masks, strict=True))
    return gather([count_pair(str(i), t, m.astype(np.uint8)) for i, (t, m) in pairs])


def value(table, assignment):
    return float(np.nanmean(iou_per_image(overlaps(table, np.array(assignment, np.int64), 3))))


def best(table, num_clusters=4):
    choices = itertools.product([UNASSIGNED, 0, 1, 2], repeat=num_clusters)
    return max(value(table, choice) for choice in choices)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_greedy_is_never_better_than_the_best_and_never_worse_than_nothing(seed):
    table = images_of(seed)
    found = value(table, match_greedy(table, 3, 4))
    assert 0 < found <= best(table) + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_the_best_where_every_cluster_lies_in_one_class(seed):
    rng = np.random.default_rng(seed)
    owner = np.array([0, 1, 2, *rng.integers(0, 3, 3)], np.uint8)
    masks = rng.integers(0, 6, (6, 1, 40)).astype(np.uint8)
    table = gather([count_pair(str(i), owner[m], m) for i, m in enumerate(masks)])
    assert match_greedy(table, 3, 6).tolist() == owner.tolist()
    assert value(table, owner) == 1


def test_a_step_adds_what_it_says():
    """The gains that greedy compares are those of the score itself."""
    table = images_of(3)
    whole = match_greedy(table, 3, 4)
    for cluster in np.flatnonzero(whole != UNASSIGNED):
        without = whole.copy()
        without[cluster] = UNASSIGNED
        assert value(table, whole) > value(table, without)


def test_a_cluster_that_helps_no_class_is_left_out():
    truth = np.repeat(np.arange(3, dtype=np.uint8), 10)[None]
    mask = truth.copy()
    mask[0, [0, 10, 20]] = 3
    table = gather([count_pair("a", truth, mask)])
    assert match_greedy(table, 3, 4).tolist() == [0, 1, 2, UNASSIGNED]
    assert value(table, [0, 1, 2, UNASSIGNED]) == best(table) == pytest.approx(0.9)
    assert value(table, [0, 1, 2, 0]) < 0.9


def test_a_class_that_is_nowhere_takes_nothing():
    table = images_of(1)
    assert match_greedy(table, 5, 6).tolist() == [*match_greedy(table, 3, 4), -1, -1]


def test_equal_names_are_matched():
    assert match_names(["sky", "tree"], ["tree", "bush", "sky", "tree"]).tolist() == [1, -1, 0, 1]
