"""The segmenter of every method that ends in a linear head: a 1x1 convolution per layer.

A 1x1 map over channels and bilinear interpolation over space commute, so each layer's logits are
computed at that layer's own resolution, upsampled once to the image and summed; the concatenated,
upsampled feature stack of the papers never exists. Nearest-centroid clustering is the same kernel:
argmin |x - m|^2 = argmax (m.x - |m|^2 / 2). A class made of several nodes of a merge tree has a row
for each, and the best of their scores. Interpolation aligns corners, as in KLiSH and LinearGAN (Xu and
Zheng, CVPR 2021), unless the file says `half_pixel`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE
from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.segment.mask_figures import count_px, mean_of_claimed
from factory.segment.segmenter_file import Corners, read_segmenter, weight_name
from factory.spec import MethodSettings


class LinearHead:
    """A fitted linear head; the protocol is `base.Segmenter`."""

    def __init__(
        self,
        spec: MethodSettings,  # noqa: ARG002 - the protocol of a segmenter
        fitted: Path | None,
        facts: GeneratorFacts,
        device: torch.device,
        *,
        ignore_unclaimed: bool = False,
    ) -> None:
        """Load the file `fitted`.

        Pixels whose best score is below 0 get 255 if `ignore_unclaimed` is set.

        Raises:
            JobError: If it is damaged, or holds something else.
        """
        assert fitted is not None  # methods with a linear head are always fitted
        tensors, head = read_segmenter(fitted)
        self.labels = tuple(head.labels)
        self.layers = tuple(head.layers)
        self.fitted_on = head.fitted_on
        self._side = facts.resolution
        self._margin_scale, self._corners = head.margin_scale, head.corners
        self._groups = [len(group) for group in head.nodes] or [1] * len(self.labels)
        self._ignores = ignore_unclaimed
        try:
            bias = tensors["bias"]
            weights = {layer: tensors[weight_name(layer)] for layer in self.layers}
        except KeyError as error:
            raise JobError(
                f"{fitted}: holds no linear head (no tensor {error}); make one with `factory fit`"
            ) from error
        self._bias = bias.to(device)[:, None]
        self._weights = {layer: weight.to(device) for layer, weight in weights.items()}

    def segment(self, batch: ImageBatch) -> MaskBatch:
        """Masks of the images of `batch`.

        A pixel's confidence is m / (m + s), where m is the margin between its best two classes and s
        the median margin at fitting time: 0 on a border, 0.5 for a typical pixel. Where a pixel
        whose best score is below 0 counts as unclaimed, it has confidence 0 and does not enter the
        mask's mean.
        """
        best, masks, margins = _best_class(_best_rows(self.logits(batch), self._groups))
        by_px = margins / (margins + self._margin_scale)
        if not self._ignores:
            return MaskBatch(
                masks, by_px.mean(dim=(1, 2)), count_px(masks, len(self.labels)), by_px
            )
        claimed = ~(best < 0)  # NaN is no class's absence: it goes into the mean, which is refused
        masks = torch.where(claimed, masks, IGNORE)
        mean, by_px = mean_of_claimed(by_px, claimed)
        return MaskBatch(masks, mean, count_px(masks, len(self.labels)), by_px)

    def class_scores(self, features: Mapping[str, Tensor], side: int) -> Float[Tensor, "n k h w"]:
        """One score per class and pixel of images of `side` rows; gradients flow through it."""
        rows = plane_scores(features, self._weights, self._bias, side, self._corners)
        return _best_rows(rows, self._groups).transpose(0, 1)

    def logits(self, batch: ImageBatch) -> Float[Tensor, "r n h w"]:
        """One score per row of weights and pixel, float32."""
        return plane_scores(batch.features, self._weights, self._bias, self._side, self._corners)


def plane_scores(
    features: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    bias: Tensor,
    side: int,
    corners: Corners = "aligned",
) -> Float[Tensor, "k n h w"]:
    """The scores of `k` planes at every pixel of images of `side` rows and columns, float32.

    `weights` has a block per layer (planes by channels), `bias` is a column. Planes come first: the
    fastest layout to reduce.
    """
    # A linear map commutes with resampling, so each layer is evaluated at its own resolution, and
    # scores of equal resolution are added before they are enlarged: one enlargement of k maps for
    # each resolution instead of one of all channels for each layer.
    by_side: dict[int, Tensor] = {}
    for layer, weight in weights.items():
        maps = features[layer]
        count, channels, rows, _ = maps.shape
        pixels = maps.permute(0, 2, 3, 1).reshape(-1, channels).float()
        scores = (weight @ pixels.T).view(-1, count, rows, rows)
        by_side[rows] = by_side[rows].add_(scores) if rows in by_side else scores
    total = by_side.pop(side, None)
    for scores in by_side.values():
        # Aligned corners are those of the published code, and what fits read their pixels with.
        wide = functional.interpolate(
            scores, (side, side), mode="bilinear", align_corners=corners == "aligned"
        )
        total = wide if total is None else total.add_(wide)
    assert total is not None  # a head has at least one layer
    return total.add_(bias[:, :, None, None])


def _best_rows(logits: Float[Tensor, "r n h w"], groups: Sequence[int]) -> Float[Tensor, "k n h w"]:
    """The highest score among each class's rows, which are adjacent."""
    if len(groups) == len(logits):
        return logits
    return torch.stack([rows.amax(dim=0) for rows in torch.split(logits, list(groups))])


def _best_class(
    logits: Float[Tensor, "k n h w"],
) -> tuple[Float[Tensor, "n h w"], UInt8[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """The highest logit, its class, and its lead over the second. Overwrites `logits` in place.

    Of equal logits the first class wins, on every device.
    """
    if logits.device.type == "cpu":
        return _best_by_turns(logits)
    best, ids = logits.max(dim=0, keepdim=True)
    second = logits.scatter_(0, ids, -torch.inf).amax(dim=0)
    return best[0], ids[0].to(torch.uint8), best[0] - second


def _best_by_turns(
    logits: Float[Tensor, "k n h w"],
) -> tuple[Float[Tensor, "n h w"], UInt8[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """The same, class after class: on a CPU a maximum with its place takes four times as long."""
    best, second = logits[0], torch.full_like(logits[0], -torch.inf)
    ids = torch.zeros_like(best, dtype=torch.uint8)
    for label, row in enumerate(logits[1:], start=1):
        # Labels grow, so the largest one whose row beat all before it is the best: no need to select.
        ids = torch.maximum(ids, (row > best).view(torch.uint8).mul_(label))
        torch.maximum(second, torch.minimum(best, row), out=second)
        torch.maximum(best, row, out=best)
    return best, ids, best - second
