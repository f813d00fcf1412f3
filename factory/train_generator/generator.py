"""The generator in training: tensors under NVIDIA's names, run by the inference network.

The network of `generate/stylegan2/network.py` is rebuilt from the tensors at every step. The cost is
negligible compared with the convolutions, and there is one implementation of the formulas. The
tensors are exactly those that are written to the weights file.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network, Noise
from factory.generate.weights.find import TensorBag
from factory.train_generator.spec import NetworkSpec
from factory.train_generator.transfer import to_device

Tensors = dict[str, Tensor]
"""Tensors of a network by name."""

_FILTER = (1.0, 3.0, 3.0, 1.0)
_NOT_LEARNED = ("resample_filter", "noise_const", "w_avg")


def is_learned(name: str) -> bool:
    """Whether the tensor `name` is a trained parameter; others are constants or averages."""
    return not name.endswith(_NOT_LEARNED)


def kwargs_of(spec: NetworkSpec, num_classes: int) -> dict[str, Any]:
    """Constructor settings in NVIDIA's names."""
    return {
        "z_dim": spec.z_dim,
        "c_dim": num_classes,
        "w_dim": spec.w_dim,
        "img_resolution": spec.resolution,
        "img_channels": 3,
        "mapping_kwargs": {"num_layers": spec.mapping_layers, "lr_multiplier": 0.01},
        "synthesis_kwargs": {
            "channel_base": spec.channel_base,
            "channel_max": spec.channel_max,
            "num_fp16_res": 0,
            "conv_clamp": None,
            "architecture": "skip",
        },
    }


def widths(tensors: Tensors) -> dict[int, int]:
    """Number of feature maps by resolution, from 4 px on.

    Counted, because files of other programs do not state the settings that determine them.
    """
    found: dict[int, int] = {}
    while (weight := tensors.get(f"synthesis.b{4 << len(found)}.conv1.weight")) is not None:
        found[4 << len(found)] = len(weight)
    return found


def initial_tensors(kwargs: Mapping[str, Any], resolution: int, rng: torch.Generator) -> Tensors:
    """Random initial weights of a generator of `resolution`, distributed as in Karras et al. 2020."""
    z_dim, w_dim, c_dim = kwargs["z_dim"], kwargs["w_dim"], kwargs["c_dim"]
    lr = kwargs["mapping_kwargs"]["lr_multiplier"]
    tensors = {"mapping.w_avg": torch.zeros(w_dim)}
    width = z_dim
    if c_dim:
        tensors |= _linear("mapping.embed", c_dim, w_dim, rng)
        width += w_dim
    for layer in range(kwargs["mapping_kwargs"]["num_layers"]):
        made = _linear(f"mapping.fc{layer}", width, w_dim, rng)
        # Equalised learning rate: the network multiplies by `lr`, so weights start that much
        # larger.
        made[f"mapping.fc{layer}.weight"] /= lr
        tensors |= made
        width = w_dim
    tensors["synthesis.b4.const"] = torch.randn(_width(kwargs, 4), 4, 4, generator=rng)
    side = 4
    while side <= resolution:
        tensors |= _block(kwargs, side, rng)
        side *= 2
    return tensors


def grow(
    tensors: Tensors, kwargs: Mapping[str, Any], resolution: int, rng: torch.Generator
) -> Tensors:
    """Append a block for `resolution`. Its colours start at zero, so the image is unchanged at first."""
    block = _block(kwargs, resolution, rng)
    block[f"synthesis.b{resolution}.torgb.weight"].zero_()
    return tensors | block


def network_of(tensors: Tensors, kwargs: dict[str, Any], at: Numerics) -> Network:
    """Build the network from these tensors; it is differentiable in them.

    Raises:
        WeightsError: If they are not those of a StyleGAN2.
    """
    return Network(TensorBag(tensors, source="the generator"), kwargs, at)


def fresh_noise(network: Network, count: int, rng: torch.Generator) -> Noise:
    """Draw noise maps for `count` images, scaled by each layer's strength."""
    noise = {}
    for layer in network.layers:
        if layer.noise_const is not None:
            shape = (count, 1, *layer.noise_const.shape[2:])
            drawn = to_device(torch.randn(shape, generator=rng), network.at.device)
            noise[layer.name] = drawn * layer.noise_strength
    return noise


def mixed_styles(
    network: Network,
    z: Float[Tensor, "2 n z"],
    labels: Float[Tensor, "n k"] | None,
    share: float,
    rng: torch.Generator,
) -> Float[Tensor, "n rows w_dim"]:
    """Style rows; for a `share` of the images, rows from a random one on come from the second latent."""
    first, second = network.mapping(z[0], labels), network.mapping(z[1], labels)
    count, rows = len(first), network.num_ws
    border = torch.randint(1, rows, (count,), generator=rng)
    border = torch.where(torch.rand(count, generator=rng) < share, border, rows)
    from_first = torch.arange(rows) < border[:, None]
    chosen = to_device(from_first[:, :, None], first.device)
    return torch.where(chosen, first[:, None], second[:, None])


def _linear(name: str, inputs: int, outputs: int, rng: torch.Generator) -> Tensors:
    return {
        f"{name}.weight": torch.randn(outputs, inputs, generator=rng),
        f"{name}.bias": torch.zeros(outputs),
    }


def _width(kwargs: Mapping[str, Any], resolution: int) -> int:
    synthesis = kwargs["synthesis_kwargs"]
    return int(min(synthesis["channel_base"] // resolution, synthesis["channel_max"]))


def _block(kwargs: Mapping[str, Any], side: int, rng: torch.Generator) -> Tensors:
    prefix = f"synthesis.b{side}"
    taps = torch.tensor(_FILTER)
    taps = torch.outer(taps, taps) / taps.sum() ** 2
    here = _width(kwargs, side)
    tensors = {f"{prefix}.resample_filter": taps}
    before = {"conv0": _width(kwargs, side // 2)} if side > 4 else {}
    for layer, inputs in (before | {"conv1": here}).items():
        name = f"{prefix}.{layer}"
        tensors |= _styled(name, kwargs["w_dim"], inputs, here, 3, rng)
        tensors[f"{name}.noise_const"] = torch.randn(side, side, generator=rng)
        tensors[f"{name}.noise_strength"] = torch.zeros(())
        tensors[f"{name}.resample_filter"] = taps
    return tensors | _styled(
        f"{prefix}.torgb", kwargs["w_dim"], here, kwargs["img_channels"], 1, rng
    )


def _styled(
    name: str, w_dim: int, inputs: int, outputs: int, size: int, rng: torch.Generator
) -> Tensors:
    """Initial tensors of a modulated convolution, with styles around one."""
    affine = _linear(f"{name}.affine", w_dim, inputs, rng)
    affine[f"{name}.affine.bias"] += 1
    weight = torch.randn(outputs, inputs, size, size, generator=rng)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(outputs)} | affine
