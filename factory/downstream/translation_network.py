"""The networks of mask to image: a small SPADE generator, and a discriminator of patches.

Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization" (SPADE,
https://arxiv.org/abs/1903.07291), a tenth as wide and without the VGG loss, whose network is not ours to
ship. KLiSH trains SPADE on its pairs as the second use of a dataset.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from factory.data import IGNORE

SIDE_STEP = 8
"""Sides of masks are multiples of it."""
LATENTS = 64
_CHANNELS = {"S": (96, 64, 48, 32), "M": (384, 256, 192, 128)}
_HIDDEN = {"S": 32, "M": 128}
_PATCH_CHANNELS = {"S": (32, 64, 96), "M": (64, 128, 256)}
_SLOPE = 0.2


class Spade(nn.Module):
    """Normalisation whose scale and shift at each pixel follow from the mask around it."""

    def __init__(self, channels: int, num_classes: int, hidden: int) -> None:
        """Normalise `channels` by masks of `num_classes`."""
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(num_classes, hidden, 3, padding=1)
        self.both = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"], planes: Float[Tensor, "n k hm wm"]) -> Tensor:
        """`x` after normalisation."""
        near = functional.interpolate(planes, x.shape[2:], mode="area")
        scale, shift = self.both(functional.relu(self.shared(near))).chunk(2, dim=1)
        moved: Tensor = self.norm(x) * (1 + scale) + shift
        return moved


class SpadeBlock(nn.Module):
    """Two normalised convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, num_classes: int, hidden: int) -> None:
        """Map `inputs` channels to `outputs`."""
        super().__init__()
        self.norms = nn.ModuleList(Spade(c, num_classes, hidden) for c in (inputs, outputs))
        self.convs = nn.ModuleList(nn.Conv2d(c, outputs, 3, padding=1) for c in (inputs, outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"], planes: Float[Tensor, "n k hm wm"]) -> Tensor:
        """`x` with more or fewer channels."""
        out = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            out = conv(functional.leaky_relu(norm(out, planes), _SLOPE))
        shortened: Tensor = self.shortcut(x) + out
        return shortened


class Translator(nn.Module):
    """Masks and latents to images."""

    def __init__(self, num_classes: int, size: str) -> None:
        """Of masks with `num_classes`, in size `S` or `M`."""
        super().__init__()
        channels, hidden = _CHANNELS[size], _HIDDEN[size]
        self.num_classes = num_classes
        self.first = nn.Conv2d(num_classes + LATENTS, channels[0], 3, padding=1)
        ends = zip(channels, (*channels[1:], channels[-1]), strict=True)
        self.blocks = nn.ModuleList(SpadeBlock(i, o, num_classes, hidden) for i, o in ends)
        self.last = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(
        self, planes: Float[Tensor, "n k h w"], z: Float[Tensor, "n z"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Images of 0 to 1 from the classes' planes and standard normal latents."""
        small = functional.avg_pool2d(planes, SIDE_STEP)
        spread = z[:, :, None, None].expand(-1, -1, *small.shape[2:])
        x = self.first(torch.cat([small, spread], dim=1))
        for place, block in enumerate(self.blocks):
            x = block(functional.interpolate(x, scale_factor=2.0) if place else x, planes)
        return torch.sigmoid(self.last(functional.leaky_relu(x, _SLOPE)))


class PatchDiscriminator(nn.Module):
    """Scores of patches: does this image look real under this mask?"""

    def __init__(self, num_classes: int, size: str) -> None:
        """Of masks with `num_classes`, in size `S` or `M`."""
        super().__init__()
        widths = (num_classes + 3, *_PATCH_CHANNELS[size])
        layers = [
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1))
            for i, o in pairwise(widths)
        ]
        self.layers = nn.ModuleList(layers)
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(
        self, images: Float[Tensor, "n 3 h w"], planes: Float[Tensor, "n k h w"]
    ) -> list[Tensor]:
        """The features of every layer, then the scores."""
        found = [torch.cat([images * 2 - 1, planes], dim=1)]
        for layer in self.layers:
            found.append(functional.leaky_relu(layer(found[-1]), _SLOPE))
        return [*found[1:], self.last(found[-1])]


def make_planes(masks: Int64[Tensor, "n h w"], num_classes: int) -> Float[Tensor, "n k h w"]:
    """A plane of 0 and 1 for each class; pixels of value 255 are in none."""
    known = masks != IGNORE
    planes = functional.one_hot(masks.where(known, 0), num_classes).permute(0, 3, 1, 2)
    return planes * known[:, None].float()
