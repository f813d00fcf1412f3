import pytest
import torch
from fit_context import context_of, found_planes, loss_of, mixture

from factory.fit.pixels.part import LEAST_CURVED
from factory.fit.pixels.separation import PENALTY, HingeLoss

CPU = torch.device("cpu")


def plain_losses(vectors, ids, classes, planes):
    scores = vectors @ planes[:, :-1].T + planes[:, -1]
    sign = (ids[:, None] == classes).to(planes) * 2 - 1
    hinge = (1 - sign * scores).clamp(min=0).square().sum(dim=0)
    return planes[:, :-1].square().sum(dim=1) / 2 + 5000 / len(vectors) * hinge


@pytest.mark.parametrize("num_pixels", [300, 20_000])
def test_the_gradient_is_the_one_of_the_formula(tmp_path, num_pixels):
    vectors, ids, planes = mixture(num_pixels)
    classes = torch.arange(4)
    wanted = planes.double().requires_grad_()
    plain_losses(vectors.double(), ids, classes, wanted).sum().backward()
    here = loss_of(tmp_path, vectors, ids)(classes, planes)
    losses, gradients = here.losses, here.slopes
    assert torch.allclose(losses, plain_losses(vectors.double(), ids, classes, planes.double()))
    assert torch.allclose(gradients, wanted.grad, rtol=1e-4, atol=1e-2)


def test_the_gradient_is_the_slope_of_the_loss(tmp_path):
    vectors, ids, planes = mixture()
    classes = torch.arange(4)
    torch.manual_seed(9)
    way = torch.randn_like(planes) * 1e-2
    loss = loss_of(tmp_path, vectors, ids)
    ahead, behind = loss(classes, planes + way).losses, loss(classes, planes - way).losses
    slope = 2 * (loss(classes, planes).slopes * way).sum(dim=1)
    assert torch.allclose(ahead - behind, slope, rtol=2e-2)


def test_the_search_ends_at_the_least_loss(tmp_path):
    vectors, ids, start = mixture()
    classes = torch.arange(4)
    loss = loss_of(tmp_path, vectors, ids)
    planes, rounds = found_planes(loss, classes, start)
    wanted = start.double().requires_grad_()
    reference = torch.optim.LBFGS([wanted], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        reference.zero_grad()
        loss = plain_losses(vectors.double(), ids, classes, wanted).sum()
        loss.backward()
        return loss

    reference.step(closure)
    least = plain_losses(vectors.double(), ids, classes, wanted).detach()
    assert (rounds > 0).all()
    assert (rounds < 30).all()
    assert ((loss(classes, planes).losses - least) / least).abs().max() < 1e-4


def test_a_search_far_from_the_origin_ends_too(tmp_path):
    vectors, ids, start = mixture()
    loss = loss_of(tmp_path, vectors * 30 + 100, ids)
    planes, _ = found_planes(loss, torch.arange(4), start)
    found = loss(torch.arange(4), planes).losses
    assert (found < loss(torch.arange(4), start).losses).all()
    assert (found < PENALTY).all(), "worse than no plane at all"


def test_one_plane_does_not_depend_on_the_others(tmp_path):
    vectors, ids, start = mixture()
    loss = loss_of(tmp_path, vectors, ids)
    together, _ = found_planes(loss, torch.arange(4), start)
    alone, _ = found_planes(loss, torch.tensor([2]), start[2:3])
    first, second = (loss(torch.tensor([2]), p).losses for p in (together[2:3], alone))
    assert torch.allclose(first, second, rtol=1e-4)


def test_pixels_no_more_than_needed_are_all_curved(tmp_path):
    vectors, ids, _ = mixture(num_pixels=2000, num_channels=240)
    curves = loss_of(tmp_path, vectors, ids).curves(torch.arange(1), torch.zeros(1, 241))
    rows = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1).double()
    exact = rows.T @ rows * (2 * PENALTY / len(rows)) + torch.eye(241)
    assert ((curves[0] - exact).abs() < 1e-4 * exact.diagonal().max()).all()


@pytest.mark.slow
def test_a_step_that_is_refused_needs_no_second_derivatives(tmp_path):
    vectors, ids, start = mixture(num_pixels=2000, num_channels=240)
    looks, curves = [], []

    class Counted(HingeLoss):
        def __call__(self, columns, planes):
            looks.append(len(columns))
            return super().__call__(columns, planes)

        def curves(self, columns, planes):
            curves.append(len(columns))
            return super().curves(columns, planes)

    loss = Counted(context_of(tmp_path, vectors, ids).pool, len(vectors))
    _, rounds = found_planes(loss, torch.arange(4), start)
    assert sum(curves) == int(rounds.sum())
    assert sum(looks) > sum(curves) + 4, "no step was refused; take other pixels"


def test_few_active_pixels_stand_for_many(tmp_path):
    vectors, ids, _ = mixture(40_000)
    order = torch.randperm(len(vectors))
    vectors, ids, planes = vectors[order], ids[order], torch.zeros(4, 6)
    assert len(vectors) > 1024 > LEAST_CURVED * 5
    curves = loss_of(tmp_path, vectors, ids).curves(torch.arange(4), planes)
    rows = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1).double()
    exact = rows.T @ rows * (2 * PENALTY / len(rows))
    assert ((curves - exact).abs() < 0.2 * exact.diagonal().max()).all()
    assert torch.linalg.eigvalsh(curves).min() > 0
