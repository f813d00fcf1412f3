"""Class probabilities of a whole picture: shrunk to the network's side, or in tiles of that side."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from factory.downstream.model_file import Model
from factory.errors import JobError

View = Literal["whole", "tiles"]
"""How a picture meets the network: as a whole, resized so that its shorter side is that of the training
images; or at its own size, in tiles."""

_MOST_ASPECT, _EVEN = 8, 16
_MOST_NUMBERS = 2**30
_BATCH = 16


def predict(model: Model, image: UInt8[np.ndarray, "h w 3"], view: View) -> Float[Tensor, "k h w"]:
    """Probability of each class at each pixel of `image`.

    Raises:
        JobError: If the picture has too many pixels for so many classes.
        PluginError: If the network fails.
    """
    height, width = image.shape[:2]
    if len(model.facts.classes) * height * width > _MOST_NUMBERS:
        raise JobError(
            where="--on",
            found=f"a picture of {height} x {width} px, and {len(model.facts.classes)} classes",
            remedy="cut the picture into pieces",
        )
    planes = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]
    answer = _of_whole if view == "whole" else _of_tiles
    return answer(model, planes)[0]


def _of_whole(model: Model, planes: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 k h w"]:
    height, width = planes.shape[2:]
    side, shorter = model.facts.size_px, min(height, width)
    # Strips are distorted rather than enlarged without bound.
    most = _MOST_ASPECT * side
    # Networks halve a side several times, and few can put odd ones together again.
    size = [
        side if px == shorter else min(max(1, round(px * side / shorter / _EVEN)) * _EVEN, most)
        for px in (height, width)
    ]
    small = _resized(planes, size)
    found = model.probabilities(small)
    if found.shape[2:] != (height, width):
        # Bicubic weights can be negative: what they make is no probability any more, but as smooth as
        # the classes' borders are.
        found = functional.interpolate(found, (height, width), mode="bicubic", align_corners=False)
    return found


def _resized(planes: Float[Tensor, "1 3 h w"], size: list[int]) -> Float[Tensor, "1 3 h2 w2"]:
    if list(planes.shape[2:]) == size:
        return planes
    if size[0] <= planes.shape[2] and size[1] <= planes.shape[3]:
        return functional.interpolate(planes, size, mode="area")
    return functional.interpolate(planes, size, mode="bilinear", align_corners=False)


def _of_tiles(model: Model, planes: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 k h w"]:
    """Mean over tiles that overlap by a quarter or more, the middle of each counting most."""
    height, width = planes.shape[2:]
    side = model.facts.size_px
    missing = (0, max(0, side - width), 0, max(0, side - height))
    padded = functional.pad(planes, missing, mode="replicate")
    total = torch.zeros(1, len(model.facts.classes), *padded.shape[2:])
    weight = torch.zeros(1, 1, *padded.shape[2:])
    tent = _tent(side)
    places = [
        (y, x) for y in _starts(padded.shape[2], side) for x in _starts(padded.shape[3], side)
    ]
    for some in _groups(places):
        tiles = torch.cat([padded[:, :, y : y + side, x : x + side] for y, x in some])
        found = model.probabilities(tiles)
        if found.shape[2:] != tiles.shape[2:]:
            found = functional.interpolate(found, (side, side), mode="bilinear")
        for (y, x), tile in zip(some, found, strict=True):
            total[0, :, y : y + side, x : x + side] += tile * tent
            weight[0, :, y : y + side, x : x + side] += tent
    return (total / weight)[:, :, :height, :width]


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin: equally far apart, the first and the last at the picture's borders."""
    count = 1 if length <= side else 1 + -(-(length - side) * 4 // (3 * side))
    return [round(place) for place in np.linspace(0, length - side, count)]


def _tent(side: int) -> Float[Tensor, "s s"]:
    ramp = 1 - (torch.arange(side) * 2 + 1 - side).abs() / (side + 1)
    return torch.outer(ramp, ramp)


def _groups(places: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    for first in range(0, len(places), _BATCH):
        yield places[first : first + _BATCH]
