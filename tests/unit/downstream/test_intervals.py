import numpy as np
import pytest

from factory.downstream.intervals import (
    draw_weights,
    figure_of,
    mean_of,
    mean_rounds,
    ratio_rounds,
)


def test_the_interval_covers_the_mean_and_narrows_with_more_images():
    rng = np.random.default_rng(0)
    widths = []
    # 95 % of a normal distribution lie within 1.96 deviations; 90 % would be 0.84 of that.
    for count, tolerance in ((20, 0.35), (2000, 0.1)):
        values = np.stack([rng.normal(0.6, 0.1, count), np.full(count, np.nan)], axis=1)
        values[:3, 0] = np.nan
        rounds = mean_rounds(values, draw_weights(count))
        found, nothing = figure_of(rounds[:, 0]), figure_of(rounds[:, 1])
        assert found.value == pytest.approx(np.nanmean(values[:, 0]), abs=1e-6)
        assert found.low < found.value < found.high
        expected = 3.92 * 0.1 / np.sqrt(count - 3)
        assert found.high - found.low == pytest.approx(expected, rel=tolerance)
        assert nothing.value is nothing.low is nothing.high is None
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 5


def test_a_ratio_over_all_images_is_that_of_sums():
    above, below = np.array([[1.0], [6.0], [0.0]]), np.array([[2.0], [8.0], [0.0]])
    rounds = ratio_rounds(above, below, draw_weights(3, rounds=50))
    assert rounds[0, 0] == 0.7
    drawn = rounds[1:, 0]
    assert np.nanmin(drawn) >= 0.5
    assert np.nanmax(drawn) <= 0.75


def test_means_of_figures_leave_out_those_without_a_value():
    rounds = np.array([[0.5, np.nan, 1.0], [np.nan] * 3])
    found = mean_of(rounds)
    assert found[0] == 0.75
    assert np.isnan(found[1])


def test_the_same_seed_draws_the_same_images_and_every_round_as_many():
    assert (draw_weights(7, seed=3) == draw_weights(7, seed=3)).all()
    assert (draw_weights(7, seed=3) != draw_weights(7, seed=4)).any()
    assert (draw_weights(7).sum(axis=1) == 7).all()
    assert (draw_weights(7)[0] == 1).all()
