"""Real white blood cells with masks painted by experts (Zheng et al. 2018), and scores against them.

Pictures are 300 px wide and shrunk to 64 px, where their cells have the size of generated ones. An
answer is enlarged again and scored at 300 px: IoU per picture, and the same within 3 px of the true
border ("trimap"). The set is for evaluation only (GPL-3.0) and comes with no part of this project.
"""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional
from unet import Pairs

from factory.segment.clean import Cleaner
from factory.spec.clean import CleanSpec

GROUND, CYTOPLASM, NUCLEUS = 0, 1, 2
NUM_CLASSES = 3
SIDE = 64
PARTS = {"nucleus": (NUCLEUS,), "cytoplasm": (CYTOPLASM,), "whole": (CYTOPLASM, NUCLEUS)}
BORDER_PX = 3
FOLDER = "dataset2_300px/"
CENTRAL = Cleaner(
    CleanSpec(keep="central", fill_holes=True), (CYTOPLASM, NUCLEUS), num_classes=NUM_CLASSES
)
"""One cell in the middle of each picture, without holes."""


@dataclass(frozen=True, slots=True)
class ExpertCells:
    """The pictures at both sides."""

    pairs: Pairs
    """64 px: averages of pixels, and each pixel's largest class."""
    truth: UInt8[Tensor, "n 300 300"]
    """The experts' masks: 0 ground (red cells too), 1 cytoplasm, 2 nucleus."""

    def rows(self, rows: slice) -> "ExpertCells":
        """Some of them."""
        return ExpertCells(self.pairs[rows], self.truth[rows])


def read_experts(path: Path) -> ExpertCells:
    """All pairs of data set 2 in the archive at `path`, by name."""
    found: dict[str, np.ndarray] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if FOLDER in member.name and member.name.endswith(".png"):
                data = io.BytesIO(archive.extractfile(member).read())  # type: ignore[union-attr]
                mode = "L" if member.name.endswith(".mask.png") else "RGB"
                picture = Image.open(data)
                found[member.name] = np.asarray(picture if mode == "L" else picture.convert(mode))
    masks = sorted(name for name in found if name.endswith(".mask.png"))
    truth = torch.from_numpy(np.stack([found[name] for name in masks]))
    wide = torch.from_numpy(
        np.stack([found[name.replace(".mask.png", ".png")] for name in masks])
    ).permute(0, 3, 1, 2)
    classes = functional.one_hot(truth.long(), NUM_CLASSES).permute(0, 3, 1, 2).float()
    images = functional.interpolate(wide.float(), (SIDE, SIDE), mode="area").round().byte()
    small = functional.interpolate(classes, (SIDE, SIDE), mode="area").argmax(dim=1).byte()
    return ExpertCells(Pairs(images, small), truth)


def enlarged(found: Float[Tensor, "n k h w"], side: int, *, clean: bool) -> UInt8[Tensor, "n s s"]:
    """Masks of `side` pixels from probabilities, by default with the central cell only."""
    wide = functional.interpolate(found, (side, side), mode="bicubic", align_corners=False)
    masks = wide.argmax(dim=1).byte()
    if not clean:
        return masks
    return torch.from_numpy(np.stack([CENTRAL.clean_parts(mask) for mask in masks.numpy()]))


def ious(
    found: UInt8[Tensor, "n h w"], truth: UInt8[Tensor, "n h w"], border_px: int = 0
) -> Float64[np.ndarray, "n p"]:
    """IoU of every picture and part (nucleus, cytoplasm, whole); near the true border if asked.

    A part that is in neither mask is NaN.
    """
    columns = []
    for classes in PARTS.values():
        mine, right = (
            torch.isin(m, torch.tensor(classes, dtype=torch.uint8)) for m in (found, truth)
        )
        if border_px:
            near = _near_border(right, border_px)
            mine, right = mine & near, right & near
        both, either = ((mine & right).sum(dim=(1, 2)), (mine | right).sum(dim=(1, 2)))
        columns.append((both.double() / either.double()).numpy())
    return np.stack(columns, axis=1)


def _near_border(masks: Bool[Tensor, "n h w"], reach: int) -> Bool[Tensor, "n h w"]:
    """Pixels within `reach` of a pixel on the other side."""
    steps = torch.arange(-reach, reach + 1)
    disc = (steps[:, None] ** 2 + steps**2 <= reach**2).float()[None, None]

    def grown(side: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
        return functional.conv2d(side.float()[:, None], disc, padding=reach)[:, 0] > 0

    return grown(masks) & grown(~masks)
