"""Layers that double the resolution, each in the form that suits its device.

A transposed convolution of stride 2 followed by a filter is one linear map. On a CPU it is computed
as those two steps. Its dense form is one ordinary convolution at the low resolution that gives the
four phases of the output (even and odd rows, even and odd columns) as channels, which are then
interleaved: four times the multiplications, no filter over the large maps.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics
from factory.generate.resample import Fir


class Doubling:
    """Doubles the resolution of maps by a linear map; made by one of the functions below."""

    def __init__(self, form: Callable[[Tensor], Tensor]) -> None:
        """Hold the form that was chosen."""
        self._form = form

    def __call__(self, maps: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """The upsampled maps, in new memory that the caller may overwrite."""
        return self._form(maps)


def blurred_convolution(
    weight: Float[Tensor, "o i 3 3"], taps: Float[Tensor, "..."], at: Numerics
) -> Doubling:
    """A transposed convolution of stride 2 by `weight`, then the blur by `taps` (StyleGAN2)."""
    fir = Fir(taps, weight.shape[0])
    if at.is_dense:
        return Doubling(_Dense(fir.blurred_kernel(weight), fir.blur_start, at))
    fir.to(at.device, at.dtype)
    stored = weight.transpose(0, 1).to(at.device, at.dtype, memory_format=torch.channels_last)
    return Doubling(lambda maps: fir.blur(functional.conv_transpose2d(maps, stored, stride=2)))


def filtered_maps(
    channels: int,
    taps: Float[Tensor, "..."],
    at: Numerics,
    weight: Float[Tensor, "o i 1 1"] | None = None,
) -> Doubling:
    """The filter `taps` after zeros were inserted; with `weight`, a 1x1 convolution comes first."""
    fir = Fir(taps, channels)
    if at.is_dense:
        mixing = torch.eye(channels, device=taps.device)[:, :, None, None]
        kernel = fir.upsampling_kernel(mixing if weight is None else weight)
        return Doubling(_Dense(kernel, fir.up_start, at))
    fir.to(at.device, at.dtype)
    if weight is None:
        return Doubling(fir.upsample)
    stored = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
    return Doubling(lambda maps: fir.upsample(functional.conv2d(maps, stored)))


def repeated_convolution(
    weight: Float[Tensor, "o i 3 3"], at: Numerics, *, fused: bool
) -> Doubling:
    """Repeat every pixel 2 x 2 times, then filter by `weight` with padding (PGGAN, StyleGAN1).

    A `fused` layer was trained as one transposed convolution, which turns `weight` around; the
    other kind correlates with it.
    """
    if at.is_dense:
        turned = weight if fused else weight.flip(2, 3)
        kernel = fused_upsampling_kernel(turned.transpose(0, 1)).transpose(0, 1)
        return Doubling(_Dense(kernel, 1, at))
    if fused:
        stored = fused_upsampling_kernel(weight.transpose(0, 1)).to(
            at.device, at.dtype, memory_format=torch.channels_last
        )
        return Doubling(lambda maps: functional.conv_transpose2d(maps, stored, stride=2, padding=1))
    plain = weight.to(at.device, at.dtype, memory_format=torch.channels_last)
    return Doubling(
        lambda maps: functional.conv2d(
            functional.interpolate(maps, scale_factor=2, mode="nearest"), plain, padding=1
        )
    )


def fused_upsampling_kernel(weight: Float[Tensor, "i o 3 3"]) -> Float[Tensor, "i o 4 4"]:
    """The 4x4 kernel of a transposed convolution that equals repeating pixels and convolving."""
    padded = functional.pad(weight, (1, 1, 1, 1))
    return (
        padded[:, :, 1:, 1:]
        + padded[:, :, :-1, 1:]
        + padded[:, :, 1:, :-1]
        + padded[:, :, :-1, :-1]
    )


class Blur:
    """A 3x3 filter over every map, with zero padding: as depthwise convolution, or as shifted sums."""

    def __init__(self, kernel: Float[Tensor, "c 1 3 3"], at: Numerics) -> None:
        """Use `kernel`, correlated. Only a filter that is an outer product has shifted sums."""
        self._axes = _shifted_sums(kernel, at) if at.is_dense else None
        self._kernel = kernel.to(at.device, at.dtype)

    def __call__(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The filtered maps."""
        if self._axes is None:
            return functional.conv2d(maps, self._kernel, padding=1, groups=len(self._kernel))
        rows, columns = self._axes
        wide = functional.pad(maps, (0, 0, 1, 1))
        maps = wide[:, :, :-2] * rows[:, 0]
        maps = maps.addcmul_(wide[:, :, 1:-1], rows[:, 1]).addcmul_(wide[:, :, 2:], rows[:, 2])
        wide = functional.pad(maps, (1, 1))
        maps = wide[..., :-2] * columns[:, 0]
        return maps.addcmul_(wide[..., 1:-1], columns[:, 1]).addcmul_(wide[..., 2:], columns[:, 2])


def _shifted_sums(kernel: Tensor, at: Numerics) -> tuple[Tensor, Tensor] | None:
    """The filters of rows and of columns, `c 3 1 1` each, that `kernel` is the outer product of."""
    rows, columns = kernel.sum(3, keepdim=True), kernel.sum(2, keepdim=True)
    columns = columns / kernel.sum((2, 3), keepdim=True)
    if not torch.allclose(rows * columns, kernel, atol=1e-6):
        return None
    flat_rows, flat_columns = (
        axis.flatten(1)[:, :, None, None].to(at.device, at.dtype) for axis in (rows, columns)
    )
    return flat_rows, flat_columns


class _Dense:
    """A kernel at the fine rate as one convolution at the coarse rate, and an interleaving."""

    def __init__(self, kernel: Float[Tensor, "o i k k"], start: int, at: Numerics) -> None:
        """Output p is the sum of x[a] kernel[p + start - 2 a] over the samples a, on both axes."""
        phases = dense_kernel(kernel, start)
        self._pad = phases.shape[2] // 2
        self._weight = phases.to(at.device, at.dtype, memory_format=torch.channels_last)

    def __call__(self, maps: Tensor) -> Tensor:
        return interleaved(functional.conv2d(maps, self._weight, padding=self._pad))


def dense_kernel(kernel: Float[Tensor, "o i k k"], start: int) -> Float[Tensor, "o4 i s s"]:
    """The convolution (correlated, padded by s // 2) whose channels are the phases of `kernel`.

    Phase (p, q), the outputs of rows 2 a + p and columns 2 b + q, has the channels from
    (2 p + q) o on. Its tap at offset j from a is kernel[p + start - 2 j], or 0 outside.
    Source: Karras et al. 2020 (StyleGAN2), appendix B, describes the map; the form is that of a
    polyphase filter bank (Vaidyanathan 1993, section 4.3).
    """
    size = kernel.shape[2]
    reach = max((start + 1) // 2, (size - 1 - start) // 2)
    offsets = torch.arange(-reach, reach + 1, device=kernel.device)[:, None]
    places = torch.arange(size, device=kernel.device)
    # Products with matrices of 0 and 1: the gradient of an index adds in any order on a GPU.
    chosen = [(places == phase + start - 2 * offsets).to(kernel.dtype) for phase in (0, 1)]
    phases = [
        torch.einsum("ra,oiab,cb->oirc", rows, kernel, columns)
        for rows in chosen
        for columns in chosen
    ]
    return torch.cat(phases)


def interleaved(phases: Float[Tensor, "n o4 h w"]) -> Float[Tensor, "n o h2 w2"]:
    """Interleave the phases of `dense_kernel`. The result lies channels_last."""
    # Not `pixel_shuffle`: with the phase before the channel, whole pixels are copied, and its CUDA
    # version gives up channels_last.
    count, channels, height, width = phases.shape
    split = phases.permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, channels // 4)
    fine = split.permute(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, channels // 4)
    return fine.permute(0, 3, 1, 2)
