"""Multinomial logistic regression: a linear head from labelled pixels.

L-BFGS on the mean cross-entropy with a small penalty on the weights of standardised channels, which
are folded back into plain weights and biases afterwards. The problem is convex, so that a start at
zero is as good as any, and no seed is needed.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.errors import JobError

_PENALTY = 1e-4
_MOST_ROUNDS = 200


def fit_logistic(
    vectors: Float[Tensor, "p c"], ids: Int64[Tensor, " p"], num_classes: int
) -> tuple[Float[Tensor, "k c"], Float[Tensor, " k"]]:
    """Fit weights and biases. A class without pixels is never predicted.

    Raises:
        JobError: If a vector holds NaN or an infinite number.
    """
    bad = int((~vectors.isfinite()).any(dim=1).sum())
    if bad:
        raise JobError(
            where="dataset.segmenter",
            found=f"NaN or infinite numbers in the features of {bad} of {len(vectors)} fitting pixels",
            remedy="fit on other layers, or check the generator's weights with `factory inspect`",
        )
    # Workers compute under inference_mode, in which no gradient exists: hence the copies as well.
    with torch.inference_mode(mode=False), torch.enable_grad():
        rows, wanted = vectors.detach().clone(), ids.detach().clone()
        deviation, mean = torch.std_mean(rows, dim=0, correction=0)
        # Standardised, so that one penalty means the same for channels of different scales. The
        # clamp is for constant channels.
        deviation = deviation.clamp(min=1e-6)
        rows = (rows - mean) / deviation
        weights = torch.zeros(num_classes, rows.shape[1], requires_grad=True)
        bias = torch.zeros(num_classes, requires_grad=True)
        search = torch.optim.LBFGS(
            [weights, bias],
            max_iter=_MOST_ROUNDS,
            history_size=20,
            tolerance_grad=1e-5,
            tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )

        def loss() -> float:
            search.zero_grad()
            value = functional.cross_entropy(functional.linear(rows, weights, bias), wanted)
            value = value + _PENALTY / 2 * weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return float(value.detach())

        search.step(loss)  # type: ignore[no-untyped-call]
    plain = weights.detach() / deviation
    return plain, bias.detach() - plain @ mean
