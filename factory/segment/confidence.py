"""Confidence by agreement: how often a method gives a pixel's class to such pixels in other images.

Two linear heads have learnt the method's classes from its masks of two halves of some fitting images,
and each has been calibrated per class on the half that it did not see (`fit/confidence.py`). They read
the finest feature maps alone: what lies at the pixel, whatever coarse maps, clean-up or other images of
the same latent made of it. Where the mask has a class that they rarely saw on such pixels, the mask is
likely to be wrong. They are a few more rows of the product that a linear head is.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from factory.data import IGNORE
from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.batch import MaskBatch
from factory.segment.linear_head import plane_scores
from factory.segment.segmenter_file import read_segmenter

_WEIGHT = "confidence/weight/"
_BIAS = "confidence/bias"
_CURVES = "confidence/curves"
HEADS_PREFIX = "confidence/"
"""What the names of all tensors of the heads begin with, in a segmenter file."""

_LEAST = 1e-6
"""Probabilities are kept so far from 0 and 1: beyond, float32 has no digits left for the odds."""


class AgreementHeads:
    """The heads that judge masks."""

    def __init__(
        self,
        weights: Mapping[str, Float[Tensor, "r _c"]],
        bias: Float[Tensor, " r"],
        curves: Float[Tensor, "h k 2"],
        side: int,
    ) -> None:
        """Rows are the classes of the first head, then those of the second.

        Args:
            weights: A block per layer.
            bias: One per row.
            curves: Slope and offset that calibrate the log-odds of each head and class.
            side: Rows of an image.
        """
        self.layers = tuple(weights)
        self._weights, self._bias, self._curves, self._side = weights, bias, curves, side

    def judge(self, found: MaskBatch, features: Mapping[str, Tensor]) -> MaskBatch:
        """`found` with another confidence: of each pixel, and of each mask.

        A pixel's is the probability of its class, 0 if it is of none (255). A mask's is the IoU that is
        to be expected between it and what the heads say, mean over its classes.
        """
        pixels, answers, sureness = [], [], []
        # One image at a time: the scores of a whole batch at 1024 px would take gigabytes.
        for position, mask in enumerate(found.masks):
            maps = {layer: features[layer][position : position + 1] for layer in self.layers}
            own, answer, sure = self._compare(maps, mask)
            pixels.append(own)
            answers.append(answer)
            sureness.append(sure)
        by_px = torch.stack(pixels)
        missed = class_sums(torch.stack(sureness), torch.stack(answers), found.class_px.shape[1])
        return replace(
            found,
            confidence=expected_iou(by_px, found.masks, found.class_px, missed),
            confidence_by_px=by_px,
        )

    def _compare(
        self, maps: Mapping[str, Tensor], mask: UInt8[Tensor, "h w"]
    ) -> tuple[Float[Tensor, "h w"], UInt8[Tensor, "h w"], Float[Tensor, "h w"]]:
        """Each pixel's probability, its likeliest class where that is another one, and that one's."""
        num_heads, num_classes, _ = self._curves.shape
        rows = plane_scores(maps, self._weights, self._bias[:, None], self._side)
        scores = rows.view(num_heads, num_classes, *mask.shape).log_softmax(dim=1)
        claimed = mask != IGNORE
        said = torch.where(claimed, mask, 0).long()
        likeliest = scores.sum(dim=0).argmax(dim=0)
        own, sure = (self._calibrated(scores, ids) for ids in (said, likeliest))
        answer = torch.where(claimed & (likeliest != said), likeliest, IGNORE).to(torch.uint8)
        return torch.where(claimed, own, 0), answer, sure

    def _calibrated(
        self, scores: Float[Tensor, "h k rows cols"], ids: Int64[Tensor, "rows cols"]
    ) -> Float[Tensor, "rows cols"]:
        """The probability of the classes `ids`, mean over the heads."""
        total = torch.zeros_like(scores[0, 0])
        for own, curve in zip(scores, self._curves, strict=True):
            slope, offset = curve[ids].unbind(dim=-1)
            total += torch.sigmoid(slope * log_odds(own.gather(0, ids[None])[0]) + offset)
        return total / len(scores)


def log_odds(log_probability: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
    """The logarithm of p / (1 - p), finite also for p = 0 and 1."""
    p = log_probability.exp().clamp(_LEAST, 1 - _LEAST)
    return torch.logit(p)


def expected_iou(
    by_px: Float[Tensor, "n h w"],
    masks: UInt8[Tensor, "n h w"],
    class_px: Int64[Tensor, "n k"],
    missed: Float[Tensor, "n k"],
) -> Float[Tensor, " n"]:
    """The mean over each mask's classes of their expected IoU; 0 for a mask without any.

    `missed` is how much of each class the heads find outside of it. A doubtful trifle everywhere is no
    part of a class, so that only pixels count whose likeliest class it is.
    """
    right = class_sums(by_px, masks, class_px.shape[1])
    ious = right / (class_px + missed).clamp(min=1)
    present = class_px > 0
    return (ious * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def class_sums(
    values: Float[Tensor, "n h w"], masks: UInt8[Tensor, "n h w"], num_classes: int
) -> Float[Tensor, "n k"]:
    """The sum of `values` over the pixels of each class; 255 is none."""
    # Class by class: scattered sums have no fixed order on a GPU.
    sums = [torch.where(masks == k, values, 0).sum(dim=(1, 2)) for k in range(num_classes)]
    return torch.stack(sums, dim=1)


def head_tensors(
    weights: Mapping[str, Float[Tensor, "r _c"]],
    bias: Float[Tensor, " r"],
    curves: Float[Tensor, "h k 2"],
) -> dict[str, Tensor]:
    """What a segmenter file holds of the heads."""
    blocks = {f"{_WEIGHT}{layer}": weight for layer, weight in weights.items()}
    return blocks | {_BIAS: bias, _CURVES: curves}


def read_heads(path: Path, facts: GeneratorFacts, device: torch.device) -> AgreementHeads:
    """Read the heads in the segmenter file at `path`.

    Raises:
        JobError: If it has none, or they are for another generator.
    """
    tensors, _ = read_segmenter(path)
    weights = {
        name.removeprefix(_WEIGHT): tensor.to(device)
        for name, tensor in sorted(tensors.items())
        if name.startswith(_WEIGHT)
    }
    if not weights or _BIAS not in tensors or _CURVES not in tensors:
        raise JobError(
            f"{path}: nothing in it judges masks; dataset.segmenter.confidence: agreement needs a file "
            "that a run with this setting made"
        )
    missing = next((layer for layer in weights if layer not in facts.layers), None)
    if missing is not None:
        offered = ", ".join(facts.layers) or "none"
        raise JobError(
            f"{path}: its confidence needs feature map {missing!r}, the generator offers {offered}; "
            "fit it on this generator"
        )
    bias, curves = tensors[_BIAS].to(device), tensors[_CURVES].to(device)
    return AgreementHeads(weights, bias, curves, facts.resolution)
