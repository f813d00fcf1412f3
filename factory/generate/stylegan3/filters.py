"""Filtered leaky ReLU: the non-linearity of StyleGAN3, computed at a finer rate to avoid aliases.

Source: Karras et al. 2021, "Alias-free generative adversarial networks", section 3.1. The filters
are taken from the checkpoint, so nothing here designs one.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics
from factory.generate.stylegan3.layer_plan import LayerPlan


class Upsampling:
    """Zeros between the samples, padding, then a separable low-pass filter with the gain for them.

    The zeros are never multiplied: every output phase is a short filter of its own. A transposed
    convolution does the same; in half precision on CPUs it is several times slower.
    """

    def __init__(
        self, taps: Float[Tensor, " t"] | None, factor: int, channels: int, at: Numerics
    ) -> None:
        """Use `taps` on both axes; None is a single tap of 1."""
        self._factor, self._channels = factor, channels
        self.num_taps = 1 if taps is None else len(taps)
        self._phases: list[Tensor] = []
        if taps is not None:
            padded = functional.pad(taps * factor, (0, -len(taps) % factor))
            # a filter convolves and conv2d correlates
            self._phases = [
                padded[phase::factor].flip(0).repeat(channels, 1, 1).to(at.device, at.dtype)
                for phase in range(factor)
            ]

    def __call__(
        self, maps: Float[Tensor, "n c h w"], padding: tuple[int, int]
    ) -> Float[Tensor, "n c h2 w2"]:
        """`padding` counts samples before and after on each axis, at the fine rate."""
        before, after = padding
        if not self._phases:
            return (
                functional.pad(maps, (before, after, before, after)) if padding != (0, 0) else maps
            )
        return self._along(self._along(maps, 2, before, after), 3, before, after)

    def _along(self, maps: Tensor, axis: int, before: int, after: int) -> Tensor:
        """One axis: 2 for rows, 3 for columns."""
        reach = self._phases[0].shape[2] - 1
        # Of all samples that the filter touches, padding leaves out so many at the two ends,
        start = self.num_taps - 1 - before
        end = reach * self._factor - after
        # and what both ends leave out of every phase need not be computed.
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
    """Maps that take their samples along `axis` from each of `phases` in turn."""
    stacked = torch.stack([phase.permute(0, 2, 3, 1) for phase in phases], dim=axis)
    return stacked.flatten(axis - 1, axis).permute(0, 3, 1, 2)


class Downsampling:
    """A low-pass filter, of whose output every `factor`-th sample is kept."""

    def __init__(
        self, taps: Float[Tensor, "..."] | None, factor: int, channels: int, at: Numerics
    ) -> None:
        """Use `taps`: a 1-D filter for both axes, a square 2-D one, or None for a single tap of 1."""
        self._factor, self._channels = factor, channels
        self.num_taps = 1 if taps is None else taps.shape[0]
        self._kernels = [
            # filters convolve and conv2d correlates
            kernel.flip(0, 1).repeat(channels, 1, 1, 1).to(at.device, at.dtype)
            for kernel in _kernels(taps)
        ]

    def __call__(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Smaller maps; the filter eats what lies outside."""
        for kernel in self._kernels:
            rows, columns = kernel.shape[2:]
            stride = (
                self._factor if rows > 1 else 1,
                self._factor if columns > 1 else 1,
            )
            maps = functional.conv2d(maps, kernel, stride=stride, groups=self._channels)
        return maps


class FilteredLeakyReLU:
    """Upsample, leaky ReLU, clamp, downsample. The gain of sqrt 2 is left to the caller."""

    def __init__(
        self,
        plan: LayerPlan,
        *,
        up_taps: Float[Tensor, " t"] | None,
        down_taps: Float[Tensor, "..."] | None,
        kernel: int,
        channels: int,
        at: Numerics,
    ) -> None:
        """Prepare for the layer `plan`, whose convolution has `kernel` taps and `channels` outputs."""
        self._up = Upsampling(up_taps, plan.up, channels, at)
        self._down = Downsampling(down_taps, plan.down, channels, at)
        self._padding = plan.padding(kernel, self._up.num_taps, self._down.num_taps)
        self._slope = 1.0 if plan.is_torgb else 0.2
        self._clamp = plan.clamp

    def __call__(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Maps at the layer's output rate. `maps` may be overwritten."""
        maps = self._up(maps, self._padding)
        if self._slope != 1:
            maps = functional.leaky_relu_(maps, self._slope)
        if self._clamp is not None:
            maps = maps.clamp_(-self._clamp, self._clamp)
        return self._down(maps)


def _kernels(taps: Tensor | None) -> list[Tensor]:
    """The passes of a filter: columns and rows of a separable one, or one square."""
    if taps is None:
        return []
    return [taps] if taps.ndim == 2 else [taps[:, None], taps[None, :]]
