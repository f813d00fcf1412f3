"""Refuse weights that are not finite: a network with a single NaN gives black images and no error."""

from collections.abc import Mapping

import torch
from torch import Tensor

from factory.errors import WeightsError


def check_finite(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Validate that every number of every tensor is finite.

    Raises:
        WeightsError: Naming the first tensor that holds NaN or an infinite number.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        bad = tensor[~torch.isfinite(tensor)]
        found = "NaN" if bool(torch.isnan(bad).any()) else "an infinite number"
        raise WeightsError(
            f"{file}: tensor {name[:80]!a} holds {found} ({bad.numel()} of {tensor.numel()} numbers); "
            "weights are finite; the training diverged: take an earlier checkpoint"
        )
