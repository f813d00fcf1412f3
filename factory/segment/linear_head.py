"""The inference kernel of k-means, KLiSH and linear few-shot heads: one 1x1 linear map per layer.

A 1x1 map over channels and bilinear interpolation over space commute, so each layer's logits are
computed at that layer's own resolution, upsampled once to the image and summed; the concatenated,
upsampled feature stack of the papers never exists. Nearest-centroid clustering is the same kernel:
argmin |x - m|^2 = argmax (m.x - |m|^2 / 2). Interpolation aligns corners, as in KLiSH and
LinearGAN (Xu and Zheng, CVPR 2021).
"""

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from factory.batch import ImageBatch, MaskBatch
from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.segment.segmenter_file import read_segmenter
from factory.spec import SegmenterSpec


def weight_name(layer: str) -> str:
    """Name of a layer's weights (classes by channels) in the segmenter file."""
    return f"weight/{layer}"


class LinearHead:
    """A fitted linear head; see `base.Segmenter` for its promise."""

    def __init__(
        self, spec: SegmenterSpec, fitted: Path | None, facts: GeneratorFacts, device: torch.device
    ) -> None:
        """Load the file `fitted`.

        Raises:
            JobError: If there is no fitted file, or it is damaged.
        """
        if fitted is None:
            raise JobError(f"segmenter {spec.kind!r}: not fitted yet; run `factory fit` first")
        tensors, head = read_segmenter(fitted)
        self.labels = tuple(head.labels)
        self.layers = tuple(head.layers)
        self._side = facts.resolution
        self._margin_scale = head.margin_scale
        self._bias = tensors["bias"].to(device)[None, :, None, None]
        self._weights = {
            layer: tensors[weight_name(layer)].to(device)[:, :, None, None] for layer in self.layers
        }

    def segment(self, batch: ImageBatch) -> MaskBatch:
        """Masks of the images of `batch`.

        A pixel's confidence is m / (m + s), where m is the margin between its best two logits and s
        the median margin at fitting time: 0 on a border, 0.5 for a typical pixel.
        """
        masks, margins = _best_class(self.logits(batch))
        confidence = (margins / (margins + self._margin_scale)).mean(dim=(1, 2))
        return MaskBatch(masks, confidence, _count_px(masks, len(self.labels)))

    def logits(self, batch: ImageBatch) -> Float[Tensor, "n k h w"]:
        """One score per class and pixel, float32."""
        by_side: dict[int, Tensor] = {}
        for layer, weight in self._weights.items():
            maps = batch.features[layer]
            scores = functional.conv2d(maps, weight.to(maps.dtype)).float()
            side = scores.shape[-1]
            by_side[side] = by_side[side] + scores if side in by_side else scores
        total = self._bias
        for side, scores in by_side.items():
            total = total + (_upsample(scores, self._side) if side != self._side else scores)
        return total


def _upsample(scores: Float[Tensor, "n k h w"], side: int) -> Float[Tensor, "n k h2 w2"]:
    size = (side, side)
    plain = scores.contiguous()  # the channels-last kernel is slower for few channels
    return functional.interpolate(plain, size, mode="bilinear", align_corners=True)


def _best_class(
    logits: Float[Tensor, "n k h w"],
) -> tuple[UInt8[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """The class with the highest logit, and its lead over the second. Overwrites `logits`."""
    best, ids = logits.max(dim=1, keepdim=True)
    second = logits.scatter_(1, ids, -torch.inf).amax(dim=1)
    return ids[:, 0].to(torch.uint8), best[:, 0] - second


def _count_px(masks: UInt8[Tensor, "n h w"], num_classes: int) -> Tensor:
    count = len(masks)
    offsets = torch.arange(count, device=masks.device)[:, None] * num_classes
    ids = masks.view(count, -1).long() + offsets
    return torch.bincount(ids.view(-1), minlength=count * num_classes).view(count, num_classes)
