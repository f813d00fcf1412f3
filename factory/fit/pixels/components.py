"""Leading principal components of each layer: shorter vectors with nearly all of the variance.

The time of a fit grows with the square of a vector's length and more, and half a thousand channels of a
layer move together. A plane over components is one over channels (its weights times the
components' directions), and as the directions are orthonormal, distances and the penalty on a
plane's weights mean the same. Heads and files do not know of components.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

MOST_COMPONENTS = 192
"""Components of all layers together."""


def find_components(
    sample: Float32[Tensor, "p c"], widths: Sequence[int]
) -> Float32[Tensor, "c d"] | None:
    """Directions that some fitting pixels vary in most, as orthonormal columns; each is of one layer.

    Args:
        sample: A sample of all vectors.
        widths: Channels of each layer, in their order within a vector.

    Returns:
        `MOST_COMPONENTS` columns; None if vectors are not longer than that.
    """
    if sum(widths) <= MOST_COMPONENTS:
        return None
    shares: list[Tensor] = []
    columns = torch.zeros(sum(widths), sum(widths))
    for block in torch.split(sample, list(widths), dim=1):
        variances, vectors = _principal(block)
        # As shares of their layer's variance: norms of layers differ by orders of magnitude, and the
        # layer of the largest would take all components for itself.
        first = sum(len(share) for share in shares)
        shares.append(variances / variances.sum().clamp(min=torch.finfo(torch.float64).tiny))
        place = slice(first, first + len(variances))
        columns[place, place] = vectors.float()
    kept = torch.cat(shares).argsort(descending=True, stable=True)[:MOST_COMPONENTS]
    return columns[:, kept.sort().values]


def _principal(block: Tensor) -> tuple[Float64[Tensor, " w"], Float64[Tensor, "w w"]]:
    """Variances along the principal directions, and the directions as columns."""
    away = block.double()
    away = away - away.mean(dim=0)
    variances, directions = torch.linalg.eigh(away.T @ away / max(len(away), 1))
    return variances.clamp(min=0), directions
