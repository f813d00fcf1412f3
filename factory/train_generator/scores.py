"""Distances between two sets of images, from their features: KID, precision and recall."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

_NEIGHBOURS = 3


def kernel_distance(real: Float[Tensor, "n c"], fake: Float[Tensor, "m c"]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x y / c + 1)^3; about 0 for equal sets.

    Source: Binkowski et al. 2018, "Demystifying MMD GANs" (KID). Their features are an Inception
    network's, ours those of `judge.py`: values can be compared with each other only.
    """
    x, y = real.double(), fake.double()
    within = _off_diagonal_mean(_kernel(x, x)) + _off_diagonal_mean(_kernel(y, y))
    return float(within - 2 * _kernel(x, y).mean())


def precision_recall(real: Float[Tensor, "n c"], fake: Float[Tensor, "m c"]) -> tuple[float, float]:
    """Share of fakes within the manifold of the real images, and of real ones within that of the fakes.

    Source: Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative
    models": a set's manifold is the union of the balls around its members that reach to their third
    neighbour.
    """
    return _share_inside(fake, real), _share_inside(real, fake)


def _share_inside(points: Tensor, members: Tensor) -> float:
    apart = torch.cdist(members.double(), members.double())
    # One more than the neighbours, because the nearest member is the member itself.
    radii = apart.kthvalue(min(_NEIGHBOURS + 1, len(members)), dim=1).values
    inside = torch.cdist(points.double(), members.double()) <= radii
    return float(inside.any(dim=1).double().mean())


def _kernel(x: Float64[Tensor, "n c"], y: Float64[Tensor, "m c"]) -> Float64[Tensor, "n m"]:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_mean(square: Float64[Tensor, "n n"]) -> Float64[Tensor, ""]:
    count = len(square)
    return (square.sum() - square.diagonal().sum()) / (count * (count - 1))
