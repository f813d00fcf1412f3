"""What the authors of LinearGAN compare with: their mIoU, and a non-linear head."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from factory.fit.lse import enlarge


def iou_by_image(truth: np.ndarray, found: np.ndarray, num_classes: int) -> np.ndarray:
    """IoU of each image and class but the background (class 0); -1 where neither side shows it."""
    rows = []
    for wanted, seen in zip(truth, found, strict=True):
        row = []
        for class_id in range(1, num_classes):
            a, b = wanted == class_id, seen == class_id
            either = np.logical_or(a, b).sum()
            row.append(np.logical_and(a, b).sum() / either if either else -1.0)
        rows.append(row)
    return np.array(rows)


def mean_iou(truth: np.ndarray, found: np.ndarray, num_classes: int) -> tuple[np.ndarray, float]:
    """The paper's mIoU: over the images that show a class on either side, then over classes."""
    rows = iou_by_image(truth, found, num_classes)
    shown = rows >= 0
    by_class = np.where(shown, rows, 0).sum(axis=0) / np.maximum(shown.sum(axis=0), 1)
    return by_class, float(by_class[shown.any(axis=0)].mean())


class NSE1(nn.Module):
    """The paper's NSE-1: for each layer three 1x1 convolutions with ReLU, enlarged and added."""

    def __init__(self, dims: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.extractor = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, (channels + num_classes) // 2, 1),
                nn.ReLU(),
                nn.Conv2d((channels + num_classes) // 2, (channels + num_classes) // 2, 1),
                nn.ReLU(),
                nn.Conv2d((channels + num_classes) // 2, num_classes, 1),
            )
            for channels in dims
        )

    def forward(self, maps: Sequence[Tensor], side: tuple[int, int]) -> Tensor:
        """The logits at every pixel of images with `side` rows and columns."""
        parts = [net(one.float()) for net, one in zip(self.extractor, maps, strict=True)]
        return torch.stack([enlarge(part, side) for part in parts]).sum(dim=0)
