"""Adaptive discriminator augmentation (ADA): random transformations whose strength is controlled.

Source: Karras et al. 2020, "Training generative adversarial networks with limited data", appendix B
(the pipeline: pixel blitting, general geometric and colour transformations) and section 3.1 (p driven
by r_t). Where we differ: the picture is sampled bilinearly and mirrored at its borders, without the
wavelet filter around the warp; filtering, noise and cutout, which did not help them, are left out.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.train_generator.transfer import to_device

_IMAGES_TO_FULL_STRENGTH = 500_000
"""Number of pictures in which p can rise from 0 to 1."""

_LUMA = torch.full((3,), 1 / math.sqrt(3))


class RandomDraws:
    """Random parameters of a batch: each transformation applies to each picture with probability p."""

    def __init__(self, count: int, p: float, rng: torch.Generator) -> None:
        """RandomDraws for `count` pictures from `rng`."""
        self.count, self.p, self._rng = count, p, rng

    def normal(self, scale: float) -> Float[Tensor, " n"]:
        """Normal numbers; 0 where the transformation is not applied."""
        return torch.randn(self.count, generator=self._rng) * scale * self._happens()

    def uniform(self, low: float, high: float) -> Float[Tensor, " n"]:
        """Uniform numbers; 0 where the transformation is not applied."""
        drawn = torch.rand(self.count, generator=self._rng) * (high - low) + low
        return drawn * self._happens()

    def integer(self, num: int) -> Float[Tensor, " n"]:
        """Integers below `num`; 0 where the transformation is not applied."""
        return torch.randint(num, (self.count,), generator=self._rng) * self._happens()

    def _happens(self) -> Tensor:
        return (torch.rand(self.count, generator=self._rng) < self.p).float()


def augment(images: Float[Tensor, "n 3 h w"], p: float, rng: torch.Generator) -> Tensor:
    """Transform `images` (-1 to 1), each transformation with probability `p`; p = 0 changes nothing.

    Differentiable. Random numbers are drawn on the CPU, so that they do not depend on the device.
    """
    if p <= 0:
        return images
    draw = RandomDraws(len(images), p, rng)
    warped = warp(images, geometry(draw, images.shape[3]))
    return recolour(warped, colours(draw))


def geometry(draw: RandomDraws, side: int) -> Float[Tensor, "n 3 3"]:
    """Inverse transformation: for each output position its position in the image, in half sides."""
    n = draw.count
    inverse = torch.eye(3).expand(n, 3, 3)
    flip = 1 - 2 * draw.integer(2)
    inverse = inverse @ _scale(flip, torch.ones(n))
    inverse = inverse @ _turn(draw.integer(4) * (math.pi / 2))
    shift_x, shift_y = draw.uniform(-0.125, 0.125), draw.uniform(-0.125, 0.125)
    whole = [(shift * side).round() * (2 / side) for shift in (shift_x, shift_y)]
    inverse = inverse @ _shift(*whole)
    isotropic = torch.exp2(draw.normal(0.2))
    inverse = inverse @ _scale(isotropic, isotropic)
    # Two rotations, before and after the stretching, so that it has any direction. Each is applied
    # with probability 1 - sqrt(1 - p), which makes p for at least one of them.
    part = RandomDraws(n, 1 - math.sqrt(1 - draw.p), draw._rng)
    inverse = inverse @ _turn(part.uniform(-math.pi, math.pi))
    stretch = torch.exp2(draw.normal(0.2))
    inverse = inverse @ _scale(stretch, 1 / stretch)
    inverse = inverse @ _turn(part.uniform(-math.pi, math.pi))
    return inverse @ _shift(draw.normal(0.25), draw.normal(0.25))


def warp(images: Tensor, inverse: Float[Tensor, "n 3 3"]) -> Tensor:
    """Sample `images` bilinearly at the positions of `inverse`, mirrored beyond the borders."""
    rows = to_device(inverse[:, :2], images.device)
    grid = functional.affine_grid(rows, list(images.shape), False)  # noqa: FBT003 - torch's signature
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def colours(draw: RandomDraws) -> Float[Tensor, "n 4 4"]:
    """Colour transformation of each image (homogeneous coordinates, -1 to 1)."""
    n = draw.count
    luma = _LUMA
    on_axis = torch.outer(luma, luma)
    matrix = _homogeneous(torch.eye(3).expand(n, 3, 3), draw.normal(0.2)[:, None].expand(n, 3))
    contrast = torch.exp2(draw.normal(0.5))
    matrix = _homogeneous(torch.eye(3) * contrast[:, None, None]) @ matrix
    mirrored = torch.eye(3) - 2 * on_axis * draw.integer(2)[:, None, None]
    matrix = _homogeneous(mirrored) @ matrix
    matrix = _homogeneous(_about_luma(draw.uniform(-math.pi, math.pi))) @ matrix
    saturation = torch.exp2(draw.normal(1.0))[:, None, None]
    return _homogeneous(on_axis + (torch.eye(3) - on_axis) * saturation) @ matrix


def recolour(images: Tensor, matrix: Float[Tensor, "n 4 4"]) -> Tensor:
    """Apply the colour transformation `matrix` to `images`."""
    matrix = to_device(matrix, images.device)
    flat = images.flatten(2)
    return (matrix[:, :3, :3] @ flat + matrix[:, :3, 3:]).view_as(images)


@dataclass(frozen=True, slots=True)
class Adaptation:
    """The augmentation probability p, and the discriminator's logits since p was last changed."""

    p: float = 0.0
    sign_sum: float | Tensor = 0.0
    count: int = 0

    def observed(self, logits: Float[Tensor, " n"]) -> "Adaptation":
        """Accumulate the discriminator's logits of real pictures; their sum stays on the device."""
        total = self.sign_sum + logits.sign().sum().double()
        return Adaptation(self.p, total, self.count + len(logits))

    @property
    def certainty(self) -> float:
        """The paper's r_t: mean sign of the logits of real pictures; 1 = complete overfitting."""
        return float(self.sign_sum) / self.count if self.count else 0.0

    def updated(self, target: float) -> "Adaptation":
        """Increase p if the certainty is above `target`, else decrease it; p stays within 0 to 1."""
        step = self.count / _IMAGES_TO_FULL_STRENGTH
        p = self.p + math.copysign(step, self.certainty - target)
        return Adaptation(min(max(p, 0.0), 1.0))


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _shift(x: Tensor, y: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def _turn(angle: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 1, 0] = angle.sin()
    matrix[:, 0, 1] = -angle.sin()
    return matrix


def _about_luma(angle: Tensor) -> Tensor:
    """Rotation of the colour space about its grey axis (Rodrigues' formula)."""
    x, y, z = _LUMA.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    on_axis = torch.outer(_LUMA, _LUMA)
    return torch.eye(3) * cosine + cross * sine + on_axis * (1 - cosine)


def _homogeneous(linear: Tensor, offset: Tensor | None = None) -> Tensor:
    matrix = torch.zeros(len(linear), 4, 4)
    matrix[:, :3, :3] = linear
    matrix[:, 3, 3] = 1
    if offset is not None:
        matrix[:, :3, 3] = offset
    return matrix
