"""Notice a search that leads nowhere, before a tenth of its steps is done, and say what helps."""

import math

from jaxtyping import Float
from torch import Tensor

from factory.errors import JobError

_LASTING = 1 / 20
"""Share of the steps for which images must look collapsed: the first direction is random, and may look
so for a few. Two such spans fit into the first tenth."""

_LEAST_CONTRAST = 0.1
"""Contrast of shifted images as a share of the originals', below which they have one colour."""
_LEAST_CHANGE = 1 / 255
"""Mean change in brightness (half a byte) below which a direction changes nothing."""
_LEAST_SHARE = 0.01
"""Share of the pixels that are foreground, or that are not, below which nothing is told apart."""

_WHERE = "dataset.segmenter"


class CollapseWatch:
    """Watches one direction."""

    def __init__(self, sign: str, num_steps: int) -> None:
        """Watch the `light` or `dark` direction of a search of `num_steps`."""
        self._sign = sign
        self._lasting = max(1, math.floor(num_steps * _LASTING))

    def check(self, curve: Float[Tensor, "s f"]) -> None:
        """Require that the last steps of `curve` (`search.FIGURES`) are not all collapsed.

        Raises:
            JobError: If they are.
        """
        if len(curve) < self._lasting:
            return
        _, _, contrast, change, share = curve[-self._lasting :].unbind(dim=1)
        found = ""
        if (change < _LEAST_CHANGE).all():
            found = self._unchanged(float(change.mean()))
        elif (contrast < _LEAST_CONTRAST).all():
            found = self._one_colour(float(contrast.mean()))
        elif (share < _LEAST_SHARE).all() or (share > 1 - _LEAST_SHARE).all():
            found = self._one_class(float(share.mean()))
        if found:
            raise JobError(f"{_WHERE}: the search collapsed by step {len(curve)}: {found}")

    def _unchanged(self, change: float) -> str:
        return (
            f"shifts along the {self._sign} direction change brightness by {change:.2g} of 2; raise "
            "radius, or search in another space"
        )

    def _one_colour(self, contrast: float) -> str:
        return (
            f"shifts along the {self._sign} direction leave {contrast:.0%} of the images' contrast, one "
            "colour; lower radius, or raise edge_weight"
        )

    def _one_class(self, share: float) -> str:
        return (
            f"the {self._sign} direction makes {share:.1%} of all pixels foreground; raise edge_weight, "
            "lower radius, or try another space or seed"
        )
