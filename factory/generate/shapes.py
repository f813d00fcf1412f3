"""A toy generator with exact masks: a square and a disc with a core on a plain ground.

It needs no weights, runs in microseconds, and its feature maps separate the parts as a GAN's do:
each part has its own direction, blurred by the map's resolution and disturbed by noise. Segmenters
are scored on it, and the tests of everything else use it for speed.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.errors import WeightsError
from factory.generate.base import GeneratorFacts, LayerShape, Silenced, StyleFacts
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.contract import check_layers, rows_of
from factory.generate.numerics import finish_images
from factory.generate.spaces import check_space, z_space
from factory.identity import counter_rng
from factory.spec import GeneratorSpec

PARTS = ("ground", "square", "disc", "core")
"""Names of the exact mask's classes, by class id."""

_SIDE = 32
_CHANNELS = {"s8": 12, "s16": 12, "s32": 8}
_NOISE = 0.15
_Z_DIM = 16
_SOFTNESS = 1.5
_COLOURED = "s8"
"""Colours are styles from this layer on; places and sizes come before it."""


class ShapesGenerator:
    """The toy generator, plugin `shapes`."""

    parts = PARTS
    latent_rows = 2
    """Places and sizes; colours."""

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Prepare the fixed feature directions on `device`.

        Raises:
            WeightsError: If the job names weights.
        """
        if weights is not None:
            raise WeightsError(
                "dataset.generator.weights: shapes has no weights; remove the setting"
            )
        self._device = device
        self._dtype = getattr(torch, spec.precision)
        # A constant seed: the features belong to this generator, not to a dataset. A dataset varies
        # the latents only, so that a segmenter fitted on one seed fits all others, as with real
        # weights.
        rng = np.random.default_rng(20)
        self._directions = {
            name: torch.from_numpy(rng.standard_normal((channels, len(PARTS)), dtype=np.float32))
            for name, channels in _CHANNELS.items()
        }
        self.facts = GeneratorFacts(
            resolution=_SIDE,
            num_classes=0,
            class_names=(),
            layers={
                name: LayerShape(channels, int(name[1:]), int(name[1:]))
                for name, channels in _CHANNELS.items()
            },
            styles=StyleFacts((_COLOURED,), (8, 16, _SIDE)),
            spaces=z_space(_Z_DIM),
            has_backgrounds=True,
        )

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw sixteen standard normal numbers: positions, sizes, colours and a seed for the noise."""
        return rng.standard_normal(_Z_DIM, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` and the feature maps named in `layers`."""
        return finish_images(self.render(rows_of(latents, self._device), latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`.

        The edges of the parts have no slope: gradients are those of soft edges in the same places.
        """
        check_layers(layers, self.facts)
        z = z.cpu()
        shaped, coloured = z[:, 0], z[:, -1]
        shapes = replace(latents, z=shaped.detach().numpy())
        parts = _with_slope_of(self._parts(shapes), _soft_parts(shaped * latents.truncation_psi, z))
        noise = torch.stack([_noise_map(row) for row in shapes.z])
        colours = _part_colours(coloured * latents.truncation_psi)
        images = torch.einsum("nkhw,nkc->nhwc", parts, colours) + noise[..., None] * 6
        features = {}
        for name in layers:
            side = int(name[1:])
            pooled = functional.adaptive_avg_pool2d(parts, side)
            disturbed = functional.adaptive_avg_pool2d(noise[:, None], side) * _NOISE
            maps = torch.einsum("nkhw,ck->nchw", pooled, self._directions[name]) + disturbed
            features[name] = maps.to(self._device, self._dtype)
        pixels = images.detach().clamp(0, 255).to(torch.uint8).contiguous().to(self._device)
        raw = ((images - 128) / 127.5).permute(0, 3, 1, 2).to(self._device)
        return Rendering(raw, features, lambda _: pixels)

    def shifted(
        self, latents: LatentBatch, space: str, shift: Float[Tensor, "n *_rows _d"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Generate the images of `latents` moved by `shift` in `space`; see `LatentShifter`.

        Gradients are those of the colours: places and sizes move too, in steps of a pixel.
        """
        check_space(space, self.facts.spaces)
        z = torch.from_numpy(latents.z) * latents.truncation_psi + shift.cpu()
        moved = replace(latents, z=z.detach().numpy(), truncation_psi=1.0)
        noise = torch.stack([_noise_map(row) for row in latents.z])
        images = (
            torch.einsum("nkhw,nkc->nchw", self._parts(moved), _part_colours(z))
            + noise[:, None] * 6
        )
        return ((images - 128) / 127.5).to(self._device)

    def mix(
        self,
        base: LatentBatch,
        variants: LatentBatch,
        start: str,  # noqa: ARG002 - there is one layer to start from
        stop_px: int,
    ) -> Float[Tensor, "v 3 s s"]:
        """Generate the parts and noise of `base` in the colours of `variants`; see `StyleMixer`."""
        parts = functional.adaptive_avg_pool2d(self._parts(base), stop_px)
        noise = functional.adaptive_avg_pool2d(_noise_map(base.z[0])[None], stop_px)
        colours = torch.einsum("khw,vkc->vchw", parts[0], _colours(variants)) + noise * 6
        return ((colours - 128) / 127.5).to(self._device)

    def render_background(
        self,
        latents: LatentBatch,
        silenced: Silenced,  # noqa: ARG002 - there is one way to draw no parts
    ) -> Float[Tensor, "n 3 h w"]:
        """Render the plain ground of `latents` and its noise; see `BackgroundRenderer`."""
        noise = torch.stack([_noise_map(row) for row in latents.z])[:, None]
        ground = _colours(latents)[:, 0, :, None, None] + noise * 6
        return ((ground - 128) / 127.5).to(self._device)

    def _parts(self, latents: LatentBatch) -> Float[Tensor, "n k h w"]:
        return functional.one_hot(self.masks(latents), len(PARTS)).permute(0, 3, 1, 2).float()

    def masks(self, latents: LatentBatch) -> Int64[Tensor, "n h w"]:
        """The exact masks of `latents`: indices into `PARTS`."""
        z = torch.from_numpy(latents.z)[:, :, None, None] * latents.truncation_psi
        grid = torch.arange(_SIDE) + 0.5
        y, x = grid[None, :, None], grid[None, None, :]
        masks = torch.zeros(len(latents.z), _SIDE, _SIDE, dtype=torch.int64)
        far = torch.maximum((x - 9 - z[:, 0]).abs(), (y - 9 - z[:, 1]).abs())
        masks[far < 5 + z[:, 2].clamp(-2, 2)] = 1
        radius = torch.hypot(x - 20 - z[:, 1], y - 20 - z[:, 0])
        size = 8 + z[:, 3].clamp(-2, 2)
        masks[radius < size] = 2
        masks[radius < size / 2] = 3
        return masks


def _colours(latents: LatentBatch) -> Float[Tensor, "n k 3"]:
    """Each part's colour, 0 to 255 for most latents."""
    return _part_colours(torch.from_numpy(latents.z) * latents.truncation_psi)


def _part_colours(z: Float[Tensor, "n z"]) -> Float[Tensor, "n k 3"]:
    exact = z[:, 4:_Z_DIM].reshape(-1, 4, 3) * 25 + 128
    return _with_slope_of(exact.detach().round(), exact)


def _soft_parts(z: Float[Tensor, "n z"], asked: Tensor) -> Float[Tensor, "n k h w"] | None:
    """Shares of the parts at each pixel if edges were soft; None if no gradient is asked for."""
    if not asked.requires_grad:
        return None
    z = z[:, :, None, None]
    grid = torch.arange(_SIDE) + 0.5
    y, x = grid[None, :, None], grid[None, None, :]
    far = torch.maximum((x - 9 - z[:, 0]).abs(), (y - 9 - z[:, 1]).abs())
    radius = torch.hypot(x - 20 - z[:, 1], y - 20 - z[:, 0])
    size = 8 + z[:, 3].clamp(-2, 2)
    square = torch.sigmoid((5 + z[:, 2].clamp(-2, 2) - far) / _SOFTNESS)
    disc = torch.sigmoid((size - radius) / _SOFTNESS)
    core = torch.sigmoid((size / 2 - radius) / _SOFTNESS)
    ground = (1 - square) * (1 - disc) * (1 - core)
    return torch.stack([ground, square * (1 - disc) * (1 - core), disc * (1 - core), core], dim=1)


def _with_slope_of(exact: Tensor, smooth: Tensor | None) -> Tensor:
    """`exact`, with the gradient of `smooth` (a straight-through estimator, Bengio et al. 2013)."""
    return exact if smooth is None else exact + (smooth - smooth.detach())


def _noise_map(z: Float[np.ndarray, " z"]) -> Float[Tensor, "h w"]:
    """Smooth noise, a function of the latent alone."""
    # Seeded by the bits of two latent numbers: the noise belongs to the latent, so that `mix`
    # repeats the base image's. The shift keeps the seed below 2^63, the largest that counter_rng
    # takes.
    seed = int.from_bytes(z[:2].tobytes(), "little") >> 1
    coarse = counter_rng("noise", seed, 0).standard_normal((1, 1, 16, 16), dtype=np.float32)
    size = (_SIDE, _SIDE)
    smooth = functional.interpolate(torch.from_numpy(coarse), size, mode="bilinear")
    return smooth[0, 0] * math.sqrt(2)
