"""Compute the mean style (the centre of truncation) for files that lack it, from fixed latents.

Karras et al. 2019, "A style-based generator architecture", appendix B, track the mean during training;
other programs leave it to the user and compute another one in every run.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from factory.identity import counter_rng

NUM_SAMPLES = 4096


def mean_style(tensors: Mapping[str, Tensor], lr_multiplier: float) -> Tensor:
    """Mean of w over fixed latents.

    Computed in float64: the order of summation, which depends on the number of threads, then changes
    nothing after rounding to float32.
    """
    weight = tensors["mapping.fc0.weight"]
    x = counter_rng("seeding", 0, 0).standard_normal((NUM_SAMPLES, weight.shape[1]))
    x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
    number = 0
    while f"mapping.fc{number}.weight" in tensors:
        weights = tensors[f"mapping.fc{number}.weight"].double().numpy()
        bias = tensors[f"mapping.fc{number}.bias"].double().numpy()
        x = x @ weights.T * (lr_multiplier / math.sqrt(weights.shape[1])) + bias * lr_multiplier
        x = np.where(x > 0, x, 0.2 * x) * math.sqrt(2)
        number += 1
    return torch.from_numpy(x.mean(axis=0)).float()
