"""The loss of a latent direction against numbers that the authors' own code made."""

from pathlib import Path

import numpy as np
import pytest
import torch

from factory.fit.direction.loss import DirectionLoss, edge_strength, radial_prior
from factory.segment.direction.curation import grey

CASES = Path(__file__).parents[2] / "golden" / "direction"


@pytest.mark.parametrize("side", [32, 48])
def test_terms_gradient_prior_and_edges_are_the_authors(side):
    with np.load(CASES / f"direction_loss_{side}.npz") as arrays:
        case = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    original = case["original"].float()
    torch.testing.assert_close(radial_prior(side, side), case["prior"], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        edge_strength(grey(original)), case["sobel_original"], atol=1e-6, rtol=0
    )
    for sign, weight in (("light", 2.0), ("dark", -2.0)):
        shifted = case["shifted"].float().requires_grad_()
        centre, edges = DirectionLoss(weight, 10.0).terms(shifted, original)
        (slope,) = torch.autograd.grad(centre + edges, shifted)
        for found, name in ((centre, "centre"), (edges, "edges"), (centre + edges, "total")):
            assert float(found.detach()) == pytest.approx(float(case[f"{sign}/{name}"]), abs=1e-6)
        torch.testing.assert_close(slope, case[f"{sign}/grad_shifted"], atol=1e-7, rtol=0)


def test_what_a_centre_should_be_is_the_other_way_round_for_the_dark_direction():
    light_disc = (radial_prior(16, 16) < 0).float().expand(1, 3, 16, 16)
    plain = torch.zeros_like(light_disc)
    light, _ = DirectionLoss(2.0, 0.0).terms(light_disc, plain)
    dark, _ = DirectionLoss(-2.0, 0.0).terms(light_disc, plain)
    assert light < 0 < dark
