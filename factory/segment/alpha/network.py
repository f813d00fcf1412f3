"""The alpha network: from the feature maps of several resolutions to the foreground's share of a pixel.

Source: Abdal, Zhu, Mitra and Wonka, "Labels4Free: Unsupervised segmentation using StyleGAN", ICCV 2021,
section 3.2, and the authors' released networks. Each convolution of the generator is reduced to three
maps; from coarse to fine, the maps of a resolution are merged with the enlarged ones of all coarser
resolutions. Interpolation is bicubic and aligns corners, as theirs does.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.errors import JobError
from factory.generate.base import GeneratorFacts

WIDTH = 6
"""Maps of each resolution inside the network."""

_MOST_RESOLUTIONS, _LEAST_PX, _MAPS_PER_RESOLUTION = 6, 8, 2
_SLOPE = 0.2

Levels = tuple[tuple[str, ...], ...]
"""Names of the feature maps of each resolution, from coarse to fine: one or two of each."""


def find_levels(facts: GeneratorFacts) -> Levels:
    """The feature maps that an alpha network reads: the last two of each of the finest resolutions.

    Six resolutions, or those from 8 px on if there are fewer.

    Raises:
        JobError: If there are fewer than two resolutions, or one is missing in between.
    """
    by_side: dict[int, list[str]] = {}
    for name, shape in facts.layers.items():
        if shape.height >= _LEAST_PX and shape.height == shape.width:
            by_side.setdefault(shape.height, []).append(name)
    sides = sorted(by_side)[-_MOST_RESOLUTIONS:]
    doubles = all(2 * coarse == fine for coarse, fine in pairwise(sides))
    if len(sides) < 2 or sides[-1] != facts.resolution or not doubles:
        raise JobError(
            "dataset.segmenter: found feature maps of "
            f"{', '.join(f'{side} px' for side in sides) or 'no size'} for images of "
            f"{facts.resolution} px; an alpha network needs resolutions from 8 px on that double up "
            "to the image's; use another generator or method"
        )
    return tuple(tuple(by_side[side][-_MAPS_PER_RESOLUTION:]) for side in sides)


def levels_of(layers: Sequence[str], tensors: Mapping[str, Tensor]) -> Levels:
    """The levels of a network with these `tensors`, which reads `layers`: a pair shares its outputs.

    Raises:
        KeyError: If there is no tensor for a layer.
        ValueError: If the tensors are not those of one network.
    """
    levels: list[tuple[str, ...]] = []
    rest = list(layers)
    while rest:
        size = WIDTH // max(len(tensors[f"map/{rest[0]}.weight"]), 1)
        levels.append(tuple(rest[:size]))
        rest = rest[size:] if size else []
    found = tuple(levels)
    channels = [tensors[f"map/{name}.weight"].shape[1] for name in layers]
    shapes = {name: tuple(one.shape) for name, one in tensors.items()}
    if len(found) < 2 or flat(found) != tuple(layers) or shapes != tensor_shapes(found, channels):
        raise ValueError("not the tensors of an alpha network")
    return found


def flat(levels: Levels) -> tuple[str, ...]:
    """All feature maps of `levels`, from coarse to fine."""
    return tuple(name for level in levels for name in level)


class AlphaNetwork:
    """An alpha network with given weights; gradients flow to them."""

    def __init__(self, levels: Levels, tensors: Mapping[str, Tensor]) -> None:
        """Use `tensors`, named and shaped as `tensor_shapes` says, on the feature maps `levels`."""
        self.levels = levels
        self._tensors = tensors

    def __call__(self, features: Mapping[str, Tensor]) -> Float[Tensor, "n h w"]:
        """The foreground's share of each pixel, 0 to 1, at the finest resolution."""
        running: Tensor | None = None
        finest = len(self.levels) - 1
        for place, level in enumerate(self.levels):
            here = torch.cat([self._reduced(name, features[name]) for name in level], dim=1)
            if running is None:
                # The coarsest maps are enlarged as they are: no merge, no activation.
                running = here
            elif place < finest:
                merged = self._conv(f"merge/{place}", torch.cat([here, running], dim=1))
                running = functional.leaky_relu(merged, _SLOPE)
            else:
                return torch.sigmoid(self._conv("last", running + here))[:, 0]
            side = 2 * running.shape[2]
            running = functional.interpolate(
                running, (side, side), mode="bicubic", align_corners=True
            )
        raise AssertionError("a network has two resolutions or more")

    def _reduced(self, name: str, maps: Tensor) -> Tensor:
        return self._conv(f"map/{name}", maps.float())

    def _conv(self, name: str, x: Tensor) -> Tensor:
        weight = self._tensors[f"{name}.weight"]
        return functional.conv2d(x, weight[:, :, None, None], self._tensors[f"{name}.bias"])


def tensor_shapes(levels: Levels, channels: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a network by name; `channels` are those of the flat levels.

    `map/NAME` reduces a feature map, `merge/N` joins resolution N to the coarser ones, `last` is the
    output; each has a `.weight` (outputs by inputs) and a `.bias`.
    """
    inputs = dict(zip(flat(levels), channels, strict=True))
    convolutions = {
        f"map/{name}": (WIDTH // len(level), inputs[name]) for level in levels for name in level
    }
    convolutions |= {f"merge/{place}": (WIDTH, 2 * WIDTH) for place in range(1, len(levels) - 1)}
    convolutions["last"] = (1, WIDTH)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (outputs, width) in convolutions.items():
        shapes |= {f"{name}.weight": (outputs, width), f"{name}.bias": (outputs,)}
    return shapes
