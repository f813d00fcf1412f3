"""What a direction is searched by: a light centre, or a dark one, and edges that stay where they are.

Source: Melas-Kyriazi et al. 2022 (ICLR), section 3, with the terms and weights of the released code,
whose Sobel filter is Kornia's: kernels divided by 8, borders repeated, 1e-6 below the root.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.segment.direction.curation import grey

_SLOPE = 4.0
_SOBEL_EPS = 1e-6
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class DirectionLoss:
    """The weights of the two terms."""

    centre: float
    """Of the centre's brightness: positive for the light direction, negative for the dark one."""
    edges: float
    """Of what happens to edges."""

    def terms(
        self, shifted: Float[Tensor, "n 3 h w"], original: Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Both weighted terms, means over images and pixels; their sum is the loss."""
        bright = grey(shifted)
        prior = radial_prior(bright.shape[1], bright.shape[2], bright.device)
        centre = self.centre * (bright * prior).mean()
        edges = self.edges * (edge_strength(bright) - edge_strength(grey(original))).square().mean()
        return centre, edges


def radial_prior(
    rows: int, columns: int, device: torch.device | None = None
) -> Float[Tensor, "h w"]:
    """Four times the distance to the centre, whose corners are sqrt 2 away, less its mean."""
    y = torch.linspace(-1, 1, rows, device=device)[:, None]
    x = torch.linspace(-1, 1, columns, device=device)[None]
    distance = (x.square() + y.square()).sqrt()
    return _SLOPE * (distance - distance.mean())


def edge_strength(bright: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """The length of the brightness gradient at each pixel, by Sobel's filter."""
    kernel = torch.tensor(_SOBEL, device=bright.device) / 8
    kernels = torch.stack([kernel, kernel.T])[:, None]
    wide = functional.pad(bright[:, None], (1, 1, 1, 1), mode="replicate")
    gradient = functional.conv2d(wide, kernels)
    return (gradient.square().sum(dim=1) + _SOBEL_EPS).sqrt()
