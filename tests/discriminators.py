"""Discriminators in the layouts of several programs, and what they compute by the published formulas."""

import math

import torch
from persistent import Persistent
from torch import Tensor
from torch.nn import functional

Tensors = dict[str, Tensor]
TAPS = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
CMAP, DEPTH, RATE = 10, 3, 0.01


def nvidia(
    side: int = 64, *, num_classes: int = 0, num_statistics: int = 1, seed: int = 1
) -> Tensors:
    """A discriminator by NVIDIA's names, with filters as their files have them."""
    rng = torch.Generator().manual_seed(seed)
    widths = {64: 8, 32: 12, 16: 16, 8: 16, 4: 12}
    made: Tensors = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        made[f"{name}.weight"] = torch.randn(shape, generator=rng)
        if bias:
            made[f"{name}.bias"] = torch.randn(shape[0], generator=rng) * 0.3

    layer(f"b{side}.fromrgb", widths[side], 3, 1, 1)
    while side > 4:
        here, below = widths[side], widths[side // 2]
        layer(f"b{side}.conv0", here, here, 3, 3)
        layer(f"b{side}.conv1", below, here, 3, 3)
        layer(f"b{side}.skip", below, here, 1, 1, bias=False)
        for owner in ("", ".fromrgb", ".conv0", ".conv1", ".skip"):
            made[f"b{side}{owner}.resample_filter"] = TAPS.clone()
        side //= 2
    layer("b4.conv", widths[4], widths[4] + num_statistics, 3, 3)
    layer("b4.fc", widths[4], widths[4] * 16)
    layer("b4.out", CMAP if num_classes else 1, widths[4])
    if num_classes:
        layer("mapping.embed", CMAP, num_classes)
        for number in range(DEPTH):
            layer(f"mapping.fc{number}", CMAP, CMAP)
            made[f"mapping.fc{number}.weight"] /= RATE
    return made


def as_rosinality(tensors: Tensors, side: int = 64) -> Tensors:
    """The same without classes by rosinality's names."""
    made = {
        "convs.0.0.weight": tensors[f"b{side}.fromrgb.weight"],
        "convs.0.1.bias": tensors[f"b{side}.fromrgb.bias"],
    }
    number = 1
    while side > 4:
        ours, theirs = f"b{side}", f"convs.{number}"
        made |= {
            f"{theirs}.conv1.0.weight": tensors[f"{ours}.conv0.weight"],
            f"{theirs}.conv1.1.bias": tensors[f"{ours}.conv0.bias"],
            f"{theirs}.conv2.0.kernel": TAPS.clone(),
            f"{theirs}.conv2.1.weight": tensors[f"{ours}.conv1.weight"],
            f"{theirs}.conv2.2.bias": tensors[f"{ours}.conv1.bias"],
            f"{theirs}.skip.0.kernel": TAPS.clone(),
            f"{theirs}.skip.1.weight": tensors[f"{ours}.skip.weight"],
        }
        side, number = side // 2, number + 1
    for theirs, ours in (("final_conv.0.weight", "conv.weight"), ("final_conv.1.bias", "conv.bias"),
                         ("final_linear.0.weight", "fc.weight"), ("final_linear.0.bias", "fc.bias"),
                         ("final_linear.1.weight", "out.weight"),
                         ("final_linear.1.bias", "out.bias")):  # fmt: skip
        made[theirs] = tensors[f"b4.{ours}"]
    return made


def persistent(tensors: Tensors, side: int = 64, *, clamp: float | None = None) -> Persistent:
    """The same as a network that NVIDIA's programs pickle."""
    num_classes = (
        tensors["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in tensors else 0
    )
    root = Persistent(
        "Discriminator", c_dim=num_classes, img_resolution=side, img_channels=3, _init_kwargs={}
    )
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        place = root
        for depth, part in enumerate(path):
            if part not in place.modules:
                place.modules[part] = _module(depth, part, clamp)
            place = place.modules[part]
        place.buffers[last] = tensor
    return root


def _module(depth: int, name: str, clamp: float | None) -> Persistent:
    if depth == 0 and name.startswith("b"):
        return Persistent("DiscriminatorBlock", architecture="resnet")
    if name.startswith("fc"):
        return Persistent("FullyConnectedLayer", bias_gain=RATE)
    return Persistent("Conv2dLayer", conv_clamp=clamp)


def score(
    tensors: Tensors,
    images: Tensor,
    class_id: int | None = None,
    *,
    clamp: float = math.inf,
) -> Tensor:
    """Scores of one group of images: every layer written out, one operation after the other."""
    side = images.shape[2]
    x = _convolved(tensors, f"b{side}.fromrgb", images, clamp)
    while side > 4:
        weight = tensors[f"b{side}.skip.weight"]
        straight = functional.conv2d(
            _filtered(x, 1)[:, :, ::2, ::2], weight / math.sqrt(weight.shape[1])
        )
        y = _convolved(tensors, f"b{side}.conv0", x, clamp)
        y = _convolved(tensors, f"b{side}.conv1", _filtered(y, 2), clamp, stride=2)
        x, side = (straight + y) / math.sqrt(2), side // 2
    number = tensors["b4.conv.weight"].shape[1] - x.shape[1]
    for part in x.chunk(number, dim=1):
        deviation = (part - part.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt().mean()
        x = torch.cat([x, deviation.expand(len(x), 1, 4, 4)], dim=1)
    x = _convolved(tensors, "b4.conv", x, clamp).flatten(1)
    x = functional.leaky_relu(_dense(tensors, "b4.fc", x), 0.2) * math.sqrt(2)
    x = _dense(tensors, "b4.out", x)
    if class_id is None:
        return x[:, 0]
    return (x * _class_row(tensors, class_id)).sum(dim=1) / math.sqrt(x.shape[1])


def _class_row(tensors: Tensors, class_id: int) -> Tensor:
    label = torch.zeros(1, tensors["mapping.embed.weight"].shape[1])
    label[0, class_id] = 1
    x = _dense(tensors, "mapping.embed", label)
    x = x / (x.square().mean() + 1e-8).sqrt()
    for number in range(DEPTH):
        x = _dense(tensors, f"mapping.fc{number}", x, RATE)
        x = functional.leaky_relu(x, 0.2) * math.sqrt(2)
    return x


def _filtered(x: Tensor, padding: int) -> Tensor:
    padded = functional.pad(x, [padding] * 4)
    height, width = padded.shape[2] - 3, padded.shape[3] - 3
    return sum(
        TAPS[row, column] * padded[:, :, row : row + height, column : column + width]
        for row in range(4)
        for column in range(4)
    )


def _convolved(tensors: Tensors, name: str, x: Tensor, clamp: float, stride: int = 1) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    padding = weight.shape[2] // 2 if stride == 1 else 0
    x = functional.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)
    x = functional.leaky_relu(x + bias[:, None, None], 0.2) * math.sqrt(2)
    return x.clamp(-clamp, clamp)


def _dense(tensors: Tensors, name: str, x: Tensor, rate: float = 1.0) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return x @ (weight * rate / math.sqrt(weight.shape[1])).T + bias * rate
