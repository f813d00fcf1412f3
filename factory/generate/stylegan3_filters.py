"""Filtered leaky ReLU: the non-linearity of StyleGAN3, computed at a finer rate to avoid aliases.

Source: Karras et al. 2021, "Alias-free generative adversarial networks", section 3.1. The filters
are taken from the checkpoint, so nothing here designs one.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.stylegan2_network import Numerics
from factory.generate.stylegan3_plan import LayerPlan


class Upsampling:
    """Zeros between the samples, padding, then a low-pass filter with the gain that undoes them."""

    def __init__(
        self, taps: Float[Tensor, "..."] | None, factor: int, channels: int, at: Numerics
    ) -> None:
        """Use `taps`: a 1-D filter for both axes, a square 2-D one, or None for a single tap of 1."""
        self._factor, self._channels = factor, channels
        self.num_taps = 1 if taps is None else taps.shape[0]
        gain = 1.0 if taps is None else factor if taps.ndim == 1 else factor**2
        self._kernels = [
            (kernel * gain).repeat(channels, 1, 1, 1).to(at.device, at.dtype)
            for kernel in _kernels(taps)
        ]

    def __call__(
        self, maps: Float[Tensor, "n c h w"], padding: tuple[int, int]
    ) -> Float[Tensor, "n c h2 w2"]:
        """`padding` counts samples before and after on each axis, at the fine rate."""
        before, after = padding
        for kernel in self._kernels:
            rows, columns = kernel.shape[2:]
            stride = (
                self._factor if rows > 1 else 1,
                self._factor if columns > 1 else 1,
            )
            maps = functional.conv_transpose2d(maps, kernel, stride=stride, groups=self._channels)
            maps = _fitted(maps, -2, rows, self._factor, before, after)
            maps = _fitted(maps, -1, columns, self._factor, before, after)
        if not self._kernels and (before or after):
            maps = functional.pad(maps, (before, after, before, after))
        return maps


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
        up_taps: Float[Tensor, "..."] | None,
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


def _fitted(maps: Tensor, axis: int, num_taps: int, factor: int, before: int, after: int) -> Tensor:
    """What padding by `before` and `after` would have left of a full transposed convolution.

    The full result starts where the first tap meets the first sample, and is zero outside.
    """
    if num_taps == 1:
        return maps
    start = num_taps - 1 - before
    end = num_taps - factor - after
    if start >= 0 and end >= 0:
        return maps.narrow(axis, start, maps.shape[axis] - start - end)
    pad = (-start, -end) if axis == -1 else (0, 0, -start, -end)
    return functional.pad(maps, pad)
