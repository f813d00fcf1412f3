import pytest
import torch

from factory.train_generator.scores import kernel_distance, precision_recall


def normal(count, seed, shift=0.0):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_equal_distributions_are_at_distance_zero_and_shifted_ones_are_not():
    near = kernel_distance(normal(500, 0), normal(500, 1))
    far = kernel_distance(normal(500, 0), normal(500, 1, 0.5))
    assert abs(near) < 0.1
    assert far > 5 * abs(near)


def test_the_distance_is_unbiased():
    found = [kernel_distance(normal(40, 2 * s), normal(40, 2 * s + 1)) for s in range(60)]
    assert abs(sum(found) / len(found)) < 3 * torch.tensor(found).std() / len(found) ** 0.5


def test_precision_and_recall_of_the_same_set_are_one():
    points = normal(100, 0)
    assert precision_recall(points, points) == (1, 1)


def test_a_collapsed_generator_is_precise_and_recalls_little():
    real = normal(300, 0)
    precision, recall = precision_recall(real, real[:1] + normal(300, 1) * 0.01)
    assert precision > 0.9
    assert recall < 0.1


def test_noise_all_around_recalls_everything_and_is_not_precise():
    real = normal(300, 0)
    precision, recall = precision_recall(real, normal(300, 1) * 6)
    assert precision < 0.3
    assert recall > 0.7


def test_strangers_are_neither():
    assert precision_recall(normal(50, 0), normal(50, 1, 100.0)) == pytest.approx((0, 0))
