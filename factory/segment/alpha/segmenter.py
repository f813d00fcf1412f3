"""The segmenter of Labels4Free: the foreground's share of each pixel, above a threshold or not."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.manifest.labels import MaskClass
from factory.segment.alpha.network import AlphaNetwork, levels_of
from factory.segment.mask_figures import count_px
from factory.segment.segmenter_file import read_segmenter
from factory.spec.alpha import AlphaSpec

LABELS = (
    MaskClass(id=0, name="background", colour=(60, 60, 70)),
    MaskClass(id=1, name="foreground", colour=(240, 170, 40)),
)
"""The classes of the masks."""

AVERAGE, LAST = "average", "last"
"""The two sets of weights in a file; a released network has the second alone."""


class AlphaSegmenter:
    """A fitted alpha network; the protocol is `base.Segmenter`."""

    def __init__(
        self,
        spec: AlphaSpec,
        fitted: Path | None,
        facts: GeneratorFacts,  # noqa: ARG002 - the protocol of a segmenter
        device: torch.device,
    ) -> None:
        """Load the file `fitted`.

        Raises:
            JobError: If it is damaged, or holds something else.
        """
        assert fitted is not None  # the method is always fitted
        tensors, head = read_segmenter(fitted)
        self.labels = tuple(head.labels)
        self.layers = tuple(head.layers)
        self.fitted_on = head.fitted_on
        self._threshold = spec.threshold
        chosen = f"{spec.weights}/"
        if not any(name.startswith(chosen) for name in tensors):
            chosen = f"{LAST}/"
        own = {
            name.removeprefix(chosen): tensor.to(device)
            for name, tensor in tensors.items()
            if name.startswith(chosen)
        }
        try:
            self._network = AlphaNetwork(levels_of(self.layers, own), own)
        except (KeyError, ValueError, IndexError) as error:
            raise JobError(
                f"{fitted}: holds no alpha network; make one with `factory fit`"
            ) from error

    def segment(self, batch: ImageBatch) -> MaskBatch:
        """Masks of the images of `batch`, with their alpha.

        A pixel's confidence is its distance from the threshold, as a share of the distance that it can
        have: 0 on the border of the mask, 1 where alpha is 0 or 1.
        """
        alpha = self._network(batch.features)
        masks = (alpha > self._threshold).to(torch.uint8)
        above = (alpha - self._threshold) / (1 - self._threshold)
        by_px = torch.where(masks.bool(), above, -above * (1 / self._threshold - 1)).clamp(0, 1)
        counts = count_px(masks, len(self.labels))
        return MaskBatch(masks, by_px.mean(dim=(1, 2)), counts, by_px, alpha=alpha)


def foreground_share(alpha: Float[Tensor, "n h w"]) -> float:
    """Share of the pixels of all images that are rather foreground than background."""
    return float((alpha > 0.5).float().mean())
