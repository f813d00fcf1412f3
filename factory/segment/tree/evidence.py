"""What a fit measured of its merge tree beside the planes: for suggestions, and for warnings."""

from dataclasses import dataclass

from jaxtyping import Bool, Float32, Int16, UInt8
from torch import Tensor

COSTS_NAME = "merge/costs"
AGREEMENT_NAME = "merge/agreement"
IMAGES_NAME = "merge/images"
STABILITY_NAME = "merge/stability"
RANKS_NAME = "merge/ranks"
"""Names of the five tensors in a segmenter file."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Figures of a merge tree by the robust rule; the published one has none.

    Fits of earlier versions measured neither stability nor ranks.
    """

    costs: Float32[Tensor, " merges"]
    """What each merge cost: how far apart the means of both clusters were, and how large they were."""
    agreement: Float32[Tensor, " cuts"]
    """How alike the flat cuts at 2, 3, ... classes come out when the images are drawn anew: the mean
    adjusted Rand index with the fit's own, at most 1."""
    images: Bool[Tensor, "leaves n"]
    """Which leaf has a pixel in which fitting image."""
    stability: Float32[Tensor, " nodes"] | None = None
    """How well each node is found again when the images are drawn anew: the mean of the best Jaccard
    index, at most 1. Leaves are not drawn anew, theirs is 1."""
    ranks: UInt8[Tensor, "px nodes"] | Int16[Tensor, "px nodes"] | None = None
    """At some fitting pixels, how many nodes score higher than each. From it follow the winner and the
    runner-up of any cut at these pixels, in an eighth of the bytes of scores."""

    def tensors(self) -> dict[str, Tensor]:
        """What a segmenter file holds of it."""
        found = {
            COSTS_NAME: self.costs,
            AGREEMENT_NAME: self.agreement,
            IMAGES_NAME: self.images,
        }
        more = {STABILITY_NAME: self.stability, RANKS_NAME: self.ranks}
        return found | {name: tensor for name, tensor in more.items() if tensor is not None}


def read_evidence(tensors: dict[str, Tensor]) -> Evidence | None:
    """Read it from a segmenter file's tensors; None if the fit measured none."""
    if COSTS_NAME not in tensors:
        return None
    return Evidence(
        tensors[COSTS_NAME],
        tensors[AGREEMENT_NAME],
        tensors[IMAGES_NAME],
        tensors.get(STABILITY_NAME),
        tensors.get(RANKS_NAME),
    )
