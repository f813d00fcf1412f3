"""Figures that follow from counts, by examples."""

import pytest

from factory.manifest.coverage import Coverage
from factory.manifest.statistics import (
    border_of,
    close_pair_rate,
    confidence_of,
    duplicate_rate,
    evenness,
    quantile,
    sharpness_of,
)


def looks(*bits):
    """Kept images with these perceptual hashes."""
    return Coverage(hashes=[(f"{value:016x}", 1) for value in bits])


@pytest.mark.parametrize(("bits", "rate"), [(0b1111, 1.0), (0b11111, 0.0), (1 << 63, 1.0)])
def test_pairs_are_close_up_to_four_bits(bits, rate):
    assert close_pair_rate(looks(0, bits)) == rate


def test_every_pair_of_different_hashes_counts_once():
    assert close_pair_rate(looks(0, 1, 2**40 - 1)) == pytest.approx(1 / 3)
    assert close_pair_rate(looks(7)) == close_pair_rate(Coverage()) == 0


def test_duplicates_are_images_whose_hash_an_earlier_one_has():
    assert duplicate_rate(Coverage(hashes=[("0" * 16, 3), ("1" * 16, 1)])) == 0.5
    assert duplicate_rate(Coverage()) == 0


def test_places_in_histograms_are_told_in_their_units():
    assert quantile([0, 4, 4], 0.5) == 2.0
    assert quantile([], 0.5) == 0
    assert quantile([2, 0, 2], 0.5) == 1.0
    assert confidence_of(25.0) == 0.5
    assert sharpness_of(4.0) == 3.0
    assert border_of(25.0) == 0.25


def test_a_few_fair_draws_are_even_and_lopsided_ones_are_not():
    assert evenness([1] * 10, 256) < 1, "ten visits cannot reach 256 places"
    assert evenness([50, 50], 2) == 1
    assert 0 < evenness([99, 1], 2) < 0.2
    assert evenness([5], 1) == 0
