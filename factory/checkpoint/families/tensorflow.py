"""Convert TensorFlow StyleGAN2 pickles (a tuple G, D, Gs) to NVIDIA's PyTorch tensor names.

The third network holds the EMA weights. Convolutions are stored [rows, columns, in, out]; those that
upsample are flipped, because PyTorch's transposed convolution is; a style's bias is stored minus one.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from factory.checkpoint.pickles.nodes import Array, PickledObject
from factory.checkpoint.pickles.plain import plain
from factory.checkpoint.pickles.source import Budget, refuse, shown
from factory.checkpoint.pickles.tensors import numpy_tensor
from factory.errors import UnknownGeneratorError

_DEEPEST = 3
_NUM_NETWORKS = 3
_ARGUMENTS = {
    "latent_size", "label_size", "dlatent_size", "resolution", "num_channels", "mapping_layers",
    "mapping_fmaps", "mapping_lrmul", "label_fmaps", "fmap_base", "fmap_max", "architecture",
    "resample_kernel", "conv_clamp", "num_fp16_res", "use_noise", "nonlinearity", "w_avg_beta",
}  # fmt: skip
_Change = Callable[[Tensor], Tensor]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.T


def _unscaled_labels(tensor: Tensor) -> Tensor:
    return tensor.T * math.sqrt(len(tensor))


def _plus_one(tensor: Tensor) -> Tensor:
    return tensor + 1


def _first(tensor: Tensor) -> Tensor:
    return tensor[0]


def _first_map(tensor: Tensor) -> Tensor:
    return tensor[0, 0]


def _conv(tensor: Tensor) -> Tensor:
    return tensor.permute(3, 2, 0, 1)


def _up_conv(tensor: Tensor) -> Tensor:
    return tensor.flip(0, 1).permute(3, 2, 0, 1)


_LAYERS = {"Conv": "conv1", "Conv1": "conv1", "Conv0_up": "conv0", "ToRGB": "torgb", "Skip": "skip"}
_PARTS: dict[str, tuple[str, int, _Change]] = {
    "weight": ("weight", 4, _conv),
    "mod_weight": ("affine.weight", 2, _transposed),
    "mod_bias": ("affine.bias", 1, _plus_one),
    "bias": ("bias", 1, _same),
    "noise_strength": ("noise_strength", 0, _same),
}
_SINGLE: dict[str, tuple[str, int, _Change]] = {
    "dlatent_avg": ("mapping.w_avg", 1, _same),
    "lod": ("", 0, _same),
    "synthesis/lod": ("", 0, _same),
    "synthesis/4x4/Const/const": ("synthesis.b4.const", 4, _first),
    "mapping/LabelEmbed/weight": ("mapping.embed.weight", 2, _transposed),
    "mapping/LabelEmbed/bias": ("mapping.embed.bias", 1, _same),
    "mapping/LabelConcat/weight": ("mapping.embed.weight", 2, _unscaled_labels),
}
_LAYER = re.compile(r"synthesis/(\d{1,5})x\1/(\w+)/(\w+)")
_NOISE = re.compile(r"synthesis/noise(\d{1,2})")
_DENSE = re.compile(r"mapping/Dense(\d{1,2})/(weight|bias)")


def is_tensorflow(found: object) -> bool:
    """Whether a pickle holds TensorFlow networks."""
    return (
        isinstance(found, tuple)
        and len(found) == _NUM_NETWORKS
        and all(isinstance(net, PickledObject) and net.token.name == "Network" for net in found)
    )


def map_tensorflow(
    networks: tuple[Any, ...], budget: Budget
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Convert the network with the EMA weights; returns tensors, settings and notes for the user.

    Raises:
        UnknownGeneratorError: If it is not a StyleGAN2.
        WeightsError: If it is incomplete.
    """
    network = networks[2]
    variables = variables_of(networks, budget)
    if (
        "synthesis/4x4/Const/const" not in variables
        or "synthesis/4x4/Conv/mod_weight" not in variables
    ):
        raise UnknownGeneratorError(
            f"{budget.file}: TensorFlow networks that are no StyleGAN2 (first variable "
            f"{shown(next(iter(variables), 'none'), 60)}); of TensorFlow's pickles those of StyleGAN2 "
            "and StyleGAN2-ADA are read; convert a StyleGAN or PGGAN with genforce's program, whose "
            "files are read, and give the number of classes of a PGGAN with labels as "
            "generator.settings: {label_size: N}"
        )
    given = plain(network.state.get("static_kwargs"), budget, "static_kwargs") or {}
    if not isinstance(given, dict):
        _refuse(budget.file, "static_kwargs that are no dict")
    tensors: dict[str, Tensor] = {}
    for name, value in variables.items():
        new, axes, change = _new_name(name)
        if not new:
            continue
        if new in tensors or value.ndim != axes:
            _refuse(budget.file, f"variable {shown(name)} with shape {tuple(value.shape)}")
        tensors[new] = change(value).contiguous()
    _add_filters(tensors, given, budget.file)
    kwargs = _kwargs(given)
    if "mapping/LabelConcat/weight" in variables:
        # StyleGAN2 before ADA: no bias, no scale, and normalised together with the latent.
        tensors["mapping.embed.bias"] = torch.zeros(len(tensors["mapping.embed.weight"]))
        kwargs["mapping_kwargs"]["joint_norm"] = True
    return tensors, kwargs, _notes(given)


def variables_of(networks: tuple[Any, ...], budget: Budget) -> dict[str, Tensor]:
    """The variables of the network with the EMA weights, by component and name.

    Raises:
        WeightsError: If they are no arrays.
    """
    return _variables(networks[2], budget)


def source_of(networks: tuple[Any, ...]) -> str:
    """The source text of the network with the EMA weights; callers hash it and never parse it."""
    source = networks[2].state.get("build_module_src")
    return source if isinstance(source, str) else ""


def _variables(network: PickledObject, budget: Budget) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any, int]] = [("", network, 0)]
    while waiting:
        prefix, part, depth = waiting.pop()
        if not isinstance(part, PickledObject) or depth > _DEEPEST:
            _refuse(budget.file, f"component {shown(prefix)} is no network")
        variables = part.state.get("variables")
        for pair in variables if isinstance(variables, list) else []:
            budget.spend_steps(1, "the variables")
            match pair:
                case [str(name), Array() | int() | float() as value]:
                    found[prefix + name] = _tensor(prefix + name, value, budget)
                case _:
                    _refuse(budget.file, f"a variable of {shown(prefix)} that is no array")
        components = part.state.get("components")
        if isinstance(components, PickledObject):
            components = components.items
        for key, component in (components or {}).items() if isinstance(components, dict) else ():
            waiting.append((f"{prefix}{key}/", component, depth + 1))
    return found


def _tensor(name: str, value: Array | float, budget: Budget) -> Tensor:
    if not isinstance(value, Array):
        return torch.tensor(float(value), dtype=torch.float32)
    return numpy_tensor(value, budget, f"variable {shown(name)}")


def _new_name(name: str) -> tuple[str, int, _Change]:
    """NVIDIA's name of a variable ('' to skip it), its number of axes, and its conversion."""
    if name in _SINGLE:
        return _SINGLE[name]
    if (match := _DENSE.fullmatch(name)) is not None:
        number, part = int(match[1]), match[2]
        return f"mapping.fc{number}.{part}", *((2, _transposed) if part == "weight" else (1, _same))
    if (match := _NOISE.fullmatch(name)) is not None:
        number = int(match[1])
        resolution = 4 << ((number + 1) // 2)
        layer = "conv0" if number % 2 else "conv1"
        return f"synthesis.b{resolution}.{layer}.noise_const", 4, _first_map
    match = _LAYER.fullmatch(name)
    if match is not None and match[2] in _LAYERS and match[3] in _PARTS:
        part, axes, change = _PARTS[match[3]]
        flipped = part == "weight" and match[2] in ("Conv0_up", "Skip")
        prefix = f"synthesis.b{int(match[1])}.{_LAYERS[match[2]]}"
        return f"{prefix}.{part}", axes, _up_conv if flipped else change
    return name, -1, _same  # an axis count that no tensor has: refused, with this name


def _add_filters(tensors: dict[str, Tensor], given: dict[str, Any], file: str) -> None:
    taps = given.get("resample_kernel") or [1, 3, 3, 1]
    numbers = np.asarray(taps if _are_numbers(taps) else [0], dtype=np.float64)
    if not 0 < numbers.size <= 64 or numbers.sum() == 0:
        _refuse(file, f"resample_kernel {shown(taps)}")
    square = np.outer(numbers, numbers)
    kernel = torch.from_numpy(square / square.sum()).float()
    layers = {name.rsplit(".", maxsplit=1)[0] for name in tensors if name.endswith(".weight")}
    owners = {layer for layer in layers if layer.endswith((".conv0", ".conv1", ".skip"))}
    for owner in owners | {owner.rsplit(".", maxsplit=1)[0] for owner in owners}:
        tensors[f"{owner}.resample_filter"] = kernel.clone()


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int | float) and abs(value) < 1e6 for value in values
    )


def _kwargs(given: dict[str, Any]) -> dict[str, Any]:
    base = given.get("fmap_base", 16384)
    return {
        "mapping_kwargs": {"lr_multiplier": given.get("mapping_lrmul", 0.01)},
        "synthesis_kwargs": {
            "channel_base": base * 2 if isinstance(base, int) else None,
            "channel_max": given.get("fmap_max", 512),
            "conv_clamp": given.get("conv_clamp"),
            "num_fp16_res": given.get("num_fp16_res", 0),
        },
    }


def _notes(given: dict[str, Any]) -> list[str]:
    notes = ["the original TensorFlow tool truncates with psi 0.5 unless told otherwise"]
    unknown = sorted(set(given) - _ARGUMENTS)
    if unknown:
        notes.append(
            "ignored TensorFlow settings: " + ", ".join(name[:40] for name in unknown[:20])
        )
    return notes


def _refuse(file: str, found: str) -> NoReturn:
    refuse(
        file, found, "TensorFlow pickles of StyleGAN2 and StyleGAN2-ADA are read",
        "convert the file with its own program, then give the state dict",
    )  # fmt: skip
