"""Refuse weights that cannot be: a network with a single NaN gives black images and no error."""

from collections.abc import Mapping

import torch
from torch import Tensor

from factory.errors import WeightsError

_VARIANCES = ("running_var", "running_vars", "stored_var")
"""How the names of batch normalisation's variances end. Their square roots divide."""
_LEAST_VARIANCE = -1e-3
"""Rounding makes some a little smaller than 0, and what is added to them makes up for it."""


def check_finite(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Validate that every number of every tensor is finite, and no variance negative.

    Raises:
        WeightsError: Naming the first tensor that holds NaN, an infinite number or a negative variance.
    """
    for name, tensor in tensors.items():
        if name.endswith(_VARIANCES) and bool((tensor < _LEAST_VARIANCE).any()):
            num_bad = int((tensor < _LEAST_VARIANCE).sum())
            raise WeightsError(
                f"{file}: tensor {name[:80]!a} holds a negative variance ({num_bad} of {tensor.numel()} "
                "numbers); variances are 0 or more; the file is damaged: get it again"
            )
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        bad = tensor[~torch.isfinite(tensor)]
        found = "NaN" if bool(torch.isnan(bad).any()) else "an infinite number"
        raise WeightsError(
            f"{file}: tensor {name[:80]!a} holds {found} ({bad.numel()} of {tensor.numel()} numbers); "
            "weights are finite; the training diverged: take an earlier checkpoint"
        )
