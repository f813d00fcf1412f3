import math

import pytest
import torch

from factory.errors import JobError
from factory.fit.logistic import fit_logistic


def test_logistic_regression_ends_where_its_gradient_does():
    torch.manual_seed(0)
    vectors = torch.randn(600, 5) * torch.tensor([1.0, 10, 0.1, 1, 1]) + 3
    truth = torch.randn(4, 5)
    ids = (vectors @ truth.T + torch.randn(600, 4)).argmax(dim=1)
    weights, bias = fit_logistic(vectors, ids, 4)
    deviation = vectors.std(dim=0, correction=0)
    rows = (vectors - vectors.mean(dim=0)) / deviation
    chances = (vectors @ weights.T + bias).softmax(dim=1)
    error = (chances - torch.nn.functional.one_hot(ids, 4)).T / len(rows)
    assert (error @ rows + 1e-4 * weights * deviation).abs().max() < 1e-3
    assert error.sum(dim=1).abs().max() < 1e-3


def test_a_class_without_pixels_never_wins():
    vectors = torch.cat([torch.randn(50, 3) - 4, torch.randn(50, 3) + 4])
    weights, bias = fit_logistic(vectors, torch.arange(2).repeat_interleave(50), 3)
    assert set((vectors @ weights.T + bias).argmax(dim=1).tolist()) == {0, 1}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_refused_before_it_spreads_over_all_weights(bad):
    vectors = torch.randn(10, 3)
    vectors[[4, 7], 1] = bad
    with pytest.raises(
        JobError, match="infinite numbers in the features of 2 of 10 fitting pixels"
    ):
        fit_logistic(vectors, torch.arange(10) % 2, 2)
