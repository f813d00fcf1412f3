"""StyleGAN3's filtered leaky ReLU: the non-linearity at a higher sampling rate, to avoid aliasing.

Source: Karras et al. 2021, "Alias-free generative adversarial networks", section 3.1. The filters
are stored in the checkpoint; none is designed here. On tensor cores a filter is a product with a
banded matrix (`banded.py`), elsewhere a depthwise convolution.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics
from factory.generate.stylegan3.banded import (
    BandedMatrix,
    downsampling_matrix,
    separable_terms,
    upsampling_matrix,
)
from factory.generate.stylegan3.geometry import LayerGeometry


class Upsampling:
    """Polyphase upsampling: insert zeros, pad, then apply a separable low-pass filter.

    The zeros are never multiplied: every output phase has a short filter of its own. A transposed
    convolution computes the same, but in half precision on CPUs it is several times slower.
    """

    def __init__(
        self, taps: Float[Tensor, " t"] | None, factor: int, channels: int, at: Numerics
    ) -> None:
        """Use `taps` on both axes; None is a single tap of 1."""
        self._factor, self._channels = factor, channels
        self.num_taps = 1 if taps is None else len(taps)
        self._at = at
        self._dense = taps.to(at.device) if taps is not None and at.is_dense else None
        self._phases: list[Tensor] = []
        if taps is not None and not at.is_dense:
            padded = functional.pad(taps * factor, (0, -len(taps) % factor))
            # A filter convolves, conv2d correlates: hence the flip.
            self._phases = [
                padded[phase::factor].flip(0).repeat(channels, 1, 1).to(at.device, at.dtype)
                for phase in range(factor)
            ]

    def __call__(
        self, maps: Float[Tensor, "n c h w"], padding: tuple[int, int]
    ) -> Float[Tensor, "n c h2 w2"]:
        """Upsample `maps`; `padding` counts samples before and after on each axis, at the fine rate."""
        before, after = padding
        if self._dense is not None:
            return self._banded(maps, before, after)
        if not self._phases:
            return (
                functional.pad(maps, (before, after, before, after)) if padding != (0, 0) else maps
            )
        return self._along(self._along(maps, 2, before, after), 3, before, after)

    def _banded(self, maps: Tensor, before: int, after: int) -> Tensor:
        assert self._dense is not None
        matrix = upsampling_matrix(self._dense, self._factor, before, self._at)
        for axis in (2, 3):
            fine = maps.shape[axis] * self._factor + before + after - self.num_taps + 1
            maps = matrix.apply(maps, axis, fine)
        return maps

    def _along(self, maps: Tensor, axis: int, before: int, after: int) -> Tensor:
        """One axis: 2 for rows, 3 for columns."""
        reach = self._phases[0].shape[2] - 1
        # A full convolution gives more samples than `padding` asks for: so many at each end are
        # cut.
        start = self.num_taps - 1 - before
        end = reach * self._factor - after
        # Samples that are cut in every phase are not computed in the first place.
        spare = max(min(start, end), 0) // self._factor
        pad = reach - spare
        if pad < 0:
            maps, pad = maps.narrow(axis, -pad, maps.shape[axis] + 2 * pad), 0
        fine = _interleaved([self._filtered(maps, taps, axis, pad) for taps in self._phases], axis)
        start, end = start - spare * self._factor, end - spare * self._factor
        if start >= 0 and end >= 0:
            return fine.narrow(axis, start, fine.shape[axis] - start - end)
        return functional.pad(fine, (0, 0, -start, -end) if axis == 2 else (-start, -end))

    def _filtered(self, maps: Tensor, taps: Tensor, axis: int, pad: int) -> Tensor:
        kernel, padding = (taps[..., None], (pad, 0)) if axis == 2 else (taps[:, :, None], (0, pad))
        return functional.conv2d(maps, kernel, padding=padding, groups=self._channels)


def _interleaved(phases: list[Tensor], axis: int) -> Tensor:
    """Interleave the samples of `phases` along `axis`."""
    stacked = torch.stack([phase.permute(0, 2, 3, 1) for phase in phases], dim=axis)
    return stacked.flatten(axis - 1, axis).permute(0, 3, 1, 2)


class Downsampling:
    """A low-pass filter followed by decimation: every `factor`-th sample is kept."""

    def __init__(
        self, taps: Float[Tensor, "..."] | None, factor: int, channels: int, at: Numerics
    ) -> None:
        """Use `taps`: a 1-D filter for both axes, a square 2-D one, or None for a single tap of 1."""
        self._factor, self._channels = factor, channels
        self.num_taps = 1 if taps is None else taps.shape[0]
        self._terms: list[tuple[BandedMatrix, BandedMatrix]] = []
        if taps is not None and at.is_dense:
            self._terms = [
                (downsampling_matrix(rows, factor, at), downsampling_matrix(columns, factor, at))
                for rows, columns in separable_terms(taps)
            ]
        self._kernels = [
            # A filter convolves, conv2d correlates: hence the flip.
            kernel.flip(0, 1).repeat(channels, 1, 1, 1).to(at.device, at.dtype)
            for kernel in _kernels(taps)
        ]

    def __call__(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Downsample `maps` without padding: the filter consumes the margin."""
        if self._terms:
            coarse = [(maps.shape[axis] - self.num_taps) // self._factor + 1 for axis in (2, 3)]
            parts = [
                columns.apply(rows.apply(maps, 2, coarse[0]), 3, coarse[1])
                for rows, columns in self._terms
            ]
            return sum(parts[1:], start=parts[0])
        for kernel in self._kernels:
            rows, columns = kernel.shape[2:]
            stride = (
                self._factor if rows > 1 else 1,
                self._factor if columns > 1 else 1,
            )
            maps = functional.conv2d(maps, kernel, stride=stride, groups=self._channels)
        return maps


class FilteredLeakyReLU:
    """Upsample, leaky ReLU, clamp, downsample. The caller has applied the gain of sqrt 2."""

    def __init__(
        self,
        geometry: LayerGeometry,
        *,
        up_taps: Float[Tensor, " t"] | None,
        down_taps: Float[Tensor, "..."] | None,
        kernel: int,
        channels: int,
        at: Numerics,
    ) -> None:
        """Prepare for a layer whose convolution has `kernel` taps and `channels` outputs."""
        self._up = Upsampling(up_taps, geometry.up, channels, at)
        self._down = Downsampling(down_taps, geometry.down, channels, at)
        self._padding = geometry.padding(kernel, self._up.num_taps, self._down.num_taps)
        self._slope = 1.0 if geometry.is_torgb else 0.2
        self._clamp = geometry.clamp

    def __call__(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Maps at the layer's output rate. `maps` may be overwritten."""
        maps = self._up(maps, self._padding)
        if self._slope != 1:
            maps = functional.leaky_relu_(maps, self._slope)
        if self._clamp is not None:
            # Autograd derives the slope of an in-place leaky ReLU from its result, which must stay.
            clamp = torch.clamp if maps.requires_grad else torch.clamp_
            maps = clamp(maps, -self._clamp, self._clamp)
        return self._down(maps)


def _kernels(taps: Tensor | None) -> list[Tensor]:
    """The kernels of a filter: rows and columns of a separable one, or one square kernel."""
    if taps is None:
        return []
    return [taps] if taps.ndim == 2 else [taps[:, None], taps[None, :]]
