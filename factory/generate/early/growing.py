"""The output of progressively grown networks: the colours of one resolution, or a blend of two.

Source: Karras et al. 2018, "Progressive growing of GANs", section 2. Training doubles the
resolution step by step and fades each new block in; `lod` (level of detail) is where it stopped.
0 is the full network; 1.25 leaves the last block unused and fades the one before it in by 0.75.
"""

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.errors import WeightsError


class GrowingOutput:
    """Selects the blocks that run, and blends their colours into the image."""

    def __init__(self, lod: float, num_blocks: int) -> None:
        """Prepare for a network of `num_blocks` resolutions that stopped at `lod`.

        Raises:
            WeightsError: If there is no such level.
        """
        if not 0 <= lod <= num_blocks - 1:
            raise WeightsError(
                f"tensor 'lod': found {lod}; a network of {num_blocks} resolutions has levels of "
                f"detail 0 to {num_blocks - 1}"
            )
        self._lod, self._num_blocks = lod, num_blocks

    def runs(self, block: int) -> bool:
        """Whether the layers of `block` (0 is the coarsest) contribute to the image."""
        return self._lod < self._level(block) + 1

    def add(
        self,
        block: int,
        image: Float[Tensor, "n c h w"] | None,
        maps: Float[Tensor, "n i h2 w2"],
        to_rgb: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "n c h3 w3"] | None:
        """The image after `block`, from the previous image and the colours of the block's `maps`."""
        if self._level(block) > math.ceil(self._lod):
            return None
        if image is None:
            return to_rgb(maps)
        larger = functional.interpolate(image, scale_factor=2, mode="nearest")
        if not self.runs(block):
            return larger
        share = math.ceil(self._lod) - self._lod
        return to_rgb(maps) * share + larger * (1 - share)

    def _level(self, block: int) -> int:
        return self._num_blocks - 1 - block
