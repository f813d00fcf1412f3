"""Suggestions: from three painted pictures on, by what was painted, and where they are unsure."""

import numpy as np
import pytest
from small_painting import NAMES, toy_masks, toy_material, toy_pictures

from factory.data import IGNORE


@pytest.fixture
def folder(tmp_path):
    return toy_pictures(tmp_path)


@pytest.fixture
def suggestions(folder):
    return toy_material(folder).suggestions


def test_two_pictures_are_too_few_and_three_are_enough(suggestions, folder):
    masks = toy_masks(folder)
    few = {name: masks[name] for name in NAMES[:2]}
    assert suggestions.suggest(NAMES[3], few) is None
    found = suggestions.suggest(NAMES[3], few | {NAMES[2]: masks[NAMES[2]]})
    assert (found.mask == masks[NAMES[3]]).mean() > 0.97
    assert 0 < found.lead <= 1


def test_a_picture_is_suggested_from_the_others_alone(suggestions, folder):
    masks = toy_masks(folder)
    painted = {name: masks[name] for name in NAMES[:3]}
    before = suggestions.suggest(NAMES[3], painted)
    wrong = painted | {NAMES[3]: np.full_like(masks[NAMES[3]], 1)}
    assert np.array_equal(suggestions.suggest(NAMES[3], wrong).mask, before.mask)
    assert suggestions.suggest(NAMES[0], painted) is None  # two others are too few


def test_other_paint_gives_another_suggestion(suggestions, folder):
    masks = toy_masks(folder)
    painted = {name: masks[name] for name in NAMES[:3]}
    first = suggestions.suggest(NAMES[3], painted).mask
    swapped = {name: np.where(mask < 2, 1 - mask, mask) for name, mask in painted.items()}
    second = suggestions.suggest(NAMES[3], swapped).mask
    assert ((second == 1) == (first == 0)).mean() > 0.97


def test_unpainted_pixels_teach_nothing(suggestions, folder):
    masks = toy_masks(folder)
    few = {}
    for place, name in enumerate(NAMES[:3]):
        hidden = np.random.default_rng(place).random(masks[name].shape) < 0.7
        few[name] = np.where(hidden, IGNORE, masks[name]).astype(np.uint8)
    found = suggestions.suggest(NAMES[3], few)
    assert (found.mask == masks[NAMES[3]]).mean() > 0.95


def test_paint_of_one_class_suggests_nothing(suggestions, folder):
    one = {name: np.zeros_like(toy_masks(folder)[name]) for name in NAMES[:3]}
    assert suggestions.suggest(NAMES[3], one) is None
    assert suggestions.least_sure(one) == [NAMES[3], NAMES[4]]


def test_the_least_sure_picture_comes_first_and_painted_ones_not_at_all(suggestions, folder):
    masks = toy_masks(folder)
    assert suggestions.least_sure({}) == list(NAMES)
    painted = {name: masks[name] for name in NAMES[:3]}
    order = suggestions.least_sure(painted)
    leads = [suggestions.suggest(name, painted).lead for name in order]
    assert sorted(order) == sorted(NAMES[3:])
    assert leads == sorted(leads)
    assert leads[0] < leads[1]
