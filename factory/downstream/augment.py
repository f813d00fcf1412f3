"""Changes to pairs so that generated pictures meet real ones: poses, stains, light and cameras."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE


def augment(
    images: Float[Tensor, "n 3 h w"], masks: Int64[Tensor, "n h w"], rng: torch.Generator
) -> tuple[Float[Tensor, "n 3 h w"], Int64[Tensor, "n h w"]]:
    """Turn, mirror, scale, restain, light, blur and add noise; images are 0 to 255, and stay so.

    Stains are mixed in optical density (Ruifrok and Johnston 2001, "Quantification of histochemical
    staining by color deconvolution"), so that what absorbs more changes more. Masks are sampled from
    their nearest pixel. All random numbers come from `rng`.
    """
    count = len(images)
    grid = functional.affine_grid(_poses(count, rng), list(images.shape), align_corners=False)
    grid = grid.to(images.device)
    moved = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    ids = functional.grid_sample(
        masks[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    return _recoloured(moved, rng), ids[:, 0].round().long().clamp(0, IGNORE)


def _poses(count: int, rng: torch.Generator) -> Float[Tensor, "n 2 3"]:
    """Any angle, either side up, e^±0.15 of the size, a twentieth to the side."""
    angle = 2 * math.pi * torch.rand(count, generator=rng)
    scale = (0.15 * torch.randn(count, generator=rng)).clamp(-0.4, 0.4).exp()
    flip = torch.randint(0, 2, (count,), generator=rng) * 2.0 - 1
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = 0.05 * torch.randn(count, 2, generator=rng)
    rows = [torch.stack([cos * flip, -sin, shift[:, 0]], 1)]
    rows.append(torch.stack([sin * flip, cos, shift[:, 1]], 1))
    return torch.stack(rows, dim=1)


def _recoloured(images: Float[Tensor, "n 3 h w"], rng: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    count, device = len(images), images.device

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(device)

    density = -((images + 1) / 256).log()
    stain = torch.eye(3, device=device) + 0.1 * drawn(count, 3, 3)
    gain = (0.2 * drawn(count, 1, 1, 1)).exp()
    density = torch.einsum("nij,njhw->nihw", stain, density) * gain
    x = 256 * (-density).exp() - 1
    x = x * (0.05 * drawn(count, 1, 1, 1)).exp()
    sharp = torch.rand(count, 1, 1, 1, generator=rng).to(device)
    blurred = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = sharp * x + (1 - sharp) * blurred
    noise = 6 * torch.rand(count, 1, 1, 1, generator=rng).to(device)
    return (x + noise * drawn(*x.shape)).clamp(0, 255)
