"""The segmenter of Labels4Free: the foreground's share of each pixel, above a threshold or not."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.manifest.labels import MaskClass
from factory.segment.alpha.network import AlphaNetwork, levels_of
from factory.segment.mask_figures import count_px
from factory.segment.segmenter_file import decode_segmenter, read_segmenter
from factory.spec.alpha import AlphaSpec

LABELS = (
    MaskClass(id=0, name="background", colour=(60, 60, 70)),
    MaskClass(id=1, name="foreground", colour=(240, 170, 40)),
)
"""The classes of the masks."""

AVERAGE, LAST = "average", "last"
"""The two sets of weights in a file; a released network has the second alone."""


_QUANTILES = 101
_DECIDED = (0.1, 0.9)
_MOST_UNDECIDED = 0.5


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


def quantiles_name(weights: str) -> str:
    """Name of the quantiles of alpha in the segmenter file; `weights` are the average, or the last."""
    return f"quantiles/{weights}"


def alpha_quantiles(alpha: Float[Tensor, "n h w"]) -> Float[Tensor, " q"]:
    """Alpha at every hundredth of the pixels, from the least to the most."""
    found = np.quantile(alpha.numpy(), np.linspace(0, 1, _QUANTILES))
    return torch.from_numpy(found.astype(np.float32))


def find_doubts(fitted: bytes, spec: AlphaSpec) -> list[str]:
    """What a user should know of masks that the threshold makes empty, full, or what they are."""
    tensors, _ = decode_segmenter(fitted, source="the fitted segmenter")
    found = tensors.get(quantiles_name(spec.weights), tensors.get(quantiles_name(LAST)))
    if found is None or not found.numel():
        return []  # an older fit, or a file of somebody's
    least, most = float(found.min()), float(found.max())
    if most <= spec.threshold or least > spec.threshold:
        return [
            f"{'no' if most <= spec.threshold else 'every'} pixel of the images that were looked at is "
            f"foreground: their alpha goes from {least:.2f} to {most:.2f}, and threshold is "
            f"{spec.threshold:g}; choose another threshold (no other fit is needed), or raise steps"
        ]
    undecided = float(((found > _DECIDED[0]) & (found < _DECIDED[1])).float().mean())
    if undecided <= _MOST_UNDECIDED:
        return []
    return [
        f"alpha is between {_DECIDED[0]} and {_DECIDED[1]} in {undecided:.0%} of the pixels, so that "
        f"threshold ({spec.threshold:g}) decides what is foreground; compare masks of several "
        "thresholds (no other fit is needed), or raise steps"
    ]
