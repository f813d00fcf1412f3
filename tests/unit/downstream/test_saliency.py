import numpy as np

from factory.downstream.intervals import draw_weights
from factory.downstream.saliency import highest_f, make_curve


def test_a_map_that_orders_pixels_right_has_f_1_at_some_threshold():
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 1
    odds = np.where(truth == 1, 0.4, 0.1).astype(np.float32)
    assert highest_f([make_curve(odds, truth)], draw_weights(1, rounds=3)).tolist() == [1.0] * 4


def test_f_weighs_precision_as_the_paper_does():
    truth = np.zeros((2, 5), np.uint8)
    truth[0, :4] = 1
    odds = np.zeros((2, 5), np.float32)
    odds[0, :2] = 1.0  # half of the foreground, and nothing else
    odds[0, 2:4] = 0.0
    found = highest_f([make_curve(odds, truth)], draw_weights(1, rounds=1))[0]
    assert found == np.float64(1.3 * 0.5 / (0.3 + 0.5))


def test_pictures_without_foreground_are_left_out():
    nothing = np.zeros((2, 2), np.uint8)
    full = np.array([[1, 0], [0, 0]], np.uint8)
    curves = [make_curve(np.ones((2, 2), np.float32), nothing), make_curve(full * 1.0, full)]
    assert highest_f(curves, draw_weights(2, rounds=1))[0] == 1
    assert np.isnan(highest_f(curves[:1], draw_weights(1, rounds=1))).all()
