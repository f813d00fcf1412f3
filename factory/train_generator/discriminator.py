"""The discriminator: residual, with minibatch statistics and projection on the class.

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN" (residual blocks)
and "Training GANs with limited data" (projection on the embedded class). Where we differ: the
pictures of a minibatch group are of one class, so that the statistics measure the variety within a
class and are not dominated by the differences between classes; a class is embedded by one layer
instead of a mapping network; and shortcuts are downsampled by average pooling, because the gradient
of a strided depthwise filter costs more than everything else on a CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics, second_moment_normalised
from factory.train_generator.generator import Tensors

GROUP = 4
"""Size of a minibatch group: consecutive pictures of one class, whose deviation is an input."""

NUM_STATISTICS = 4
"""Number of deviations per group, each over an equal share of the feature maps at 4 px."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the discriminators of other programs do otherwise."""

    filters_shortcuts: bool = False
    """Shortcuts are downsampled by the low-pass filter, as published."""
    clamp: float | None = None
    """Limit of what convolutions put out, of networks that were trained in 16 bits."""


class Discriminator:
    """Scores images as real or generated, given their class."""

    def __init__(
        self, tensors: Tensors, resolution: int, at: Numerics, form: Form | None = None
    ) -> None:
        """Use `tensors` (named as in `initial_tensors`) for images of `resolution`."""
        self._form = form or Form()
        self._tensors = tensors
        self._resolution = resolution
        self._at = at
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self._taps = torch.outer(taps, taps).to(at.device, at.dtype)

    def __call__(
        self, images: Float[Tensor, "n 3 h w"], labels: Float[Tensor, "n k"] | None
    ) -> Float[Tensor, " n"]:
        """Logits of `images` (-1 to 1, in groups of `GROUP`) with one-hot `labels`."""
        x = images.to(self._at.dtype).contiguous(memory_format=torch.channels_last)
        x = self._conv(x, f"b{self._resolution}.fromrgb")
        side = self._resolution
        while side > 4:
            shortcut = self._shortcut(x, f"b{side}.skip")
            y = self._conv(x, f"b{side}.conv0")
            y = self._downsampled(y, f"b{side}.conv1")
            x = (y + shortcut) * math.sqrt(0.5)
            side //= 2
        num_statistics = self._tensors["b4.conv.weight"].shape[1] - x.shape[1]
        if num_statistics:
            x = torch.cat([x, spread(x.float(), num_statistics).to(x.dtype)], dim=1)
        x = self._conv(x, "b4.conv").float().flatten(1)
        x = functional.leaky_relu(self._linear(x, "b4.fc"), 0.2) * math.sqrt(2)
        scores = self._linear(x, "b4.out")
        if labels is None:
            return scores[:, 0]
        classes = second_moment_normalised(self._linear(labels, "embed"))
        return (scores * classes).sum(dim=1) / math.sqrt(classes.shape[1])

    def _shortcut(self, x: Tensor, name: str) -> Tensor:
        if not self._form.filters_shortcuts:
            return self._conv(functional.avg_pool2d(x, 2), name, active=False)
        weight = self._tensors[f"{name}.weight"]
        # One dense kernel: see above for the gradient of a strided depthwise filter.
        kernel = weight / math.sqrt(weight.shape[1]) * self._taps.float()
        kernel = kernel.to(x.dtype, memory_format=torch.channels_last)
        return functional.conv2d(x, kernel, stride=2, padding=1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = self._tensors[f"{name}.weight"]
        return functional.linear(
            x, weight / math.sqrt(weight.shape[1]), self._tensors[f"{name}.bias"]
        )

    def _conv(self, x: Tensor, name: str, *, stride: int = 1, active: bool = True) -> Tensor:
        weight = self._tensors[f"{name}.weight"]
        size = weight.shape[2]
        gain = (math.sqrt(2) if active else 1.0) / math.sqrt(weight[0].numel())
        kernel = (weight * gain).to(x.dtype, memory_format=torch.channels_last)
        if not active:
            return functional.conv2d(x, kernel)
        bias = (self._tensors[f"{name}.bias"] * math.sqrt(2)).to(x.dtype)
        padding = size // 2 if stride == 1 else 0
        # The activation's gain is folded into weight and bias: leaky ReLU is positively
        # homogeneous.
        return self._active(functional.conv2d(x, kernel, bias, stride, padding))

    def _downsampled(self, x: Tensor, name: str) -> Tensor:
        """Low-pass filter and convolution of stride 2, with leaky ReLU; dense: both as one kernel."""
        if not self._at.is_dense:
            return self._conv(self._blurred(x), name, stride=2)
        weight = self._tensors[f"{name}.weight"]
        gain = math.sqrt(2) / math.sqrt(weight[0].numel())
        taps = self._taps.float()[None, None]
        filtered = functional.conv2d(weight.flatten(0, 1)[:, None] * gain, taps, padding=3)
        kernel = filtered.reshape(*weight.shape[:2], *filtered.shape[2:])
        kernel = kernel.to(x.dtype, memory_format=torch.channels_last)
        bias = (self._tensors[f"{name}.bias"] * math.sqrt(2)).to(x.dtype)
        return self._active(functional.conv2d(x, kernel, bias, 2, 2))

    def _active(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(x, 0.2)
        clamp = self._form.clamp
        return x if clamp is None else x.clamp(-clamp, clamp)

    def _blurred(self, x: Tensor) -> Tensor:
        """Low-pass filter, one pixel larger, for a convolution of stride 2 without padding."""
        channels = x.shape[1]
        kernel = self._taps.expand(channels, 1, -1, -1)
        return functional.conv2d(x, kernel, padding=2, groups=channels)


def spread(
    x: Float[Tensor, "n c h w"], num_statistics: int = NUM_STATISTICS
) -> Float[Tensor, "n s h w"]:
    """Minibatch standard deviation: the deviation within each group, as constant maps."""
    count, channels, height, width = x.shape
    groups = x.view(
        count // GROUP, GROUP, num_statistics, channels // num_statistics, height, width
    )
    deviation = (groups.var(dim=1, unbiased=False) + 1e-8).sqrt()
    means = deviation.mean(dim=(2, 3, 4))
    return means.repeat_interleave(GROUP, dim=0)[:, :, None, None].expand(-1, -1, height, width)


def initial_tensors(widths: Mapping[int, int], num_classes: int, rng: torch.Generator) -> Tensors:
    """Random initial weights; `widths` are feature maps by resolution, up to that of the images."""
    deepest = widths[4]
    tensors = _conv("b4.conv", deepest + NUM_STATISTICS, deepest, 3, rng)
    tensors |= _linear("b4.fc", deepest * 16, deepest, rng)
    tensors |= _linear("b4.out", deepest, deepest if num_classes else 1, rng)
    if num_classes:
        tensors |= _linear("embed", num_classes, deepest, rng)
    for side in sorted(widths)[1:]:
        tensors = grow(tensors, widths, side, rng)
    return tensors


def grow(
    tensors: Tensors, widths: Mapping[int, int], resolution: int, rng: torch.Generator
) -> Tensors:
    """Prepend a block for images of `resolution`, with a new `fromrgb` layer."""
    here, below = widths[resolution], widths[resolution // 2]
    kept = {name: tensor for name, tensor in tensors.items() if ".fromrgb." not in name}
    skip = _conv(f"b{resolution}.skip", here, below, 1, rng)
    del skip[f"b{resolution}.skip.bias"]
    return (
        kept
        | _conv(f"b{resolution}.fromrgb", 3, here, 1, rng)
        | _conv(f"b{resolution}.conv0", here, here, 3, rng)
        | _conv(f"b{resolution}.conv1", here, below, 3, rng)
        | skip
    )


def _conv(name: str, inputs: int, outputs: int, size: int, rng: torch.Generator) -> Tensors:
    weight = torch.randn(outputs, inputs, size, size, generator=rng)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(outputs)}


def _linear(name: str, inputs: int, outputs: int, rng: torch.Generator) -> Tensors:
    weight = torch.randn(outputs, inputs, generator=rng)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(outputs)}
