"""FIR resampling as StyleGAN2 does it: true convolution, zero padding, filters that sum to one.

It is not bilinear interpolation: the zero padding shows at the borders, and networks were trained
with it. Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN",
section 2 and appendix B.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class Fir:
    """One 2-D low-pass filter, prepared for both resampling steps."""

    def __init__(self, taps: Float[Tensor, "..."], channels: int) -> None:
        """Use `taps`: a square 2-D filter, or a 1-D one that stands for its outer product.

        `channels` is the number of maps it will be applied to.
        """
        square = torch.outer(taps, taps) if taps.ndim == 1 else taps
        size = square.shape[0]
        # Gain 4 compensates for the three zeros per sample. A filter convolves: conv_transpose2d
        # does so as well, but conv2d correlates, hence the flip of the blur.
        self._up = (square * 4)[None, None].repeat(channels, 1, 1, 1)
        self._blur = (square * 4).flip(0, 1)[None, None].repeat(channels, 1, 1, 1)
        # The full convolution is longer than the image by the filter's length; these offsets cut
        # out the window that the original's padding leaves, so that an even filter shifts nothing.
        self.up_start = size - 1 - (size + 1) // 2
        before, after = (size + 1) // 2 - 1, (size - 2) // 2
        self.blur_start = size - 1 - before
        self._blur_pad = (before, after, before, after)
        self.channels = channels

    def to(self, device: torch.device, dtype: torch.dtype) -> "Fir":
        """Move to `device` and compute in `dtype`, in place; returns itself."""
        self._up = self._up.to(device, dtype)
        self._blur = self._blur.to(device, dtype)
        return self

    def blurred_kernel(self, weight: Float[Tensor, "o i k k"]) -> Float[Tensor, "o i m m"]:
        """A transposed convolution by `weight` and the blur, as one kernel: their convolution.

        The blur's output begins at `blur_start` of the whole convolution.
        """
        blur = self._blur[:1].to(weight.dtype)
        pad = blur.shape[2] - 1
        whole = functional.conv2d(weight.flatten(0, 1)[:, None], blur, padding=pad)
        return whole.reshape(*weight.shape[:2], *whole.shape[2:])

    def upsampling_kernel(self, weight: Float[Tensor, "o i 1 1"]) -> Float[Tensor, "o i m m"]:
        """A 1x1 convolution by `weight` and the upsampling, as one kernel; it begins at `up_start`."""
        return weight * self._up[0]

    def upsample(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Double the resolution: insert a zero after every sample, then filter."""
        height, width = maps.shape[2] * 2, maps.shape[3] * 2
        full = functional.conv_transpose2d(maps, self._up, stride=2, groups=self.channels)
        start = self.up_start
        return full[:, :, start : start + height, start : start + width]

    def blur(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Filter the output of a transposed convolution of stride 2, with gain 4."""
        before, after = self._blur_pad[:2]
        if before == after:  # conv2d pads without the copy that functional.pad makes
            return functional.conv2d(maps, self._blur, padding=before, groups=self.channels)
        return functional.conv2d(
            functional.pad(maps, self._blur_pad), self._blur, groups=self.channels
        )
