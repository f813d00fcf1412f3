"""Convert StyleGAN2 state dicts of genforce's programs to NVIDIA's tensor names.

The network is the same. Weights are TensorFlow's, so those that upsample are flipped; a style's bias
is stored minus one; label and latent are normalised together. The older layout, which KLiSH and
LinearGAN use, keeps convolutions as [rows, columns, in, out] and its dense weights under `fc`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from factory.checkpoint.families.renaming import Change, Renaming, first, first_map, scalar
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.families.stylegan2 import LR_MULTIPLIER, default_filter

_UP_GAIN = 4
_UNSUPPORTED = {
    "final_tanh": False, "demodulate": True, "use_wscale": True, "const_input": True, "repeat_w": True,
    "noise_type": "spatial",
}  # fmt: skip
"""Settings that change the network, with the only value that is computed here."""
_NVIDIAS = ("lr_multiplier", "conv_clamp", "mapping_kwargs", "synthesis_kwargs")


def map_genforce(
    state: StateDict, given: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Convert to NVIDIA's names; returns tensors, the program's settings with `given`, assumptions.

    Raises:
        WeightsError: If a tensor is missing or left over, or `given` asks for another network.
    """
    names = Renaming(state, "genforce")
    is_older = "mapping.dense0.fc.weight" in names
    dense, conv, flipped = _layout(is_older=is_older)
    for number in range(state.count("mapping.dense{}.bias")):
        names.move(f"mapping.dense{number}.{dense}", f"mapping.fc{number}.weight")
        names.move(f"mapping.dense{number}.bias", f"mapping.fc{number}.bias")
    joint = _move_labels(names)
    names.move("truncation.w_avg", "mapping.w_avg")
    names.left.pop("truncation.truncation", None)  # the factors of one fixed truncation
    names.move("synthesis.early_layer.const", "synthesis.b4.const", first)
    colours_filter = _kernel(names, "synthesis.upsample")
    for number in range(state.count("synthesis.layer{}.bias")):
        block = f"synthesis.b{4 << (number + 1) // 2}"
        old = f"synthesis.layer{number}"
        new = f"{block}.{'conv0' if number % 2 else 'conv1'}"
        names.move(f"{old}.weight", f"{new}.weight", flipped if number % 2 else conv)
        names.move(f"{old}.bias", f"{new}.bias")
        names.move(f"{old}.noise_strength", f"{new}.noise_strength", scalar)
        names.move(f"{old}.noise", f"{new}.noise_const", first_map)
        _move_style(names, old, new, dense)
        names.made[f"{new}.resample_filter"] = _kernel(names, f"{old}.filter")
        names.made[f"{block}.resample_filter"] = colours_filter
    for number in range(state.count("synthesis.layer{}.bias") // 2 + 1):
        _move_block_ends(names, number, (dense, conv, flipped))
    tensors, assumptions = names.finish()
    if "mapping_lr_mul" not in given and "lr_multiplier" not in given:
        assumptions.append(
            f"mapping_lr_mul {LR_MULTIPLIER}, no final tanh: a state dict does not say"
        )
    return tensors, _kwargs(names, given, joint=joint), assumptions


def _layout(*, is_older: bool) -> tuple[str, Change, Change]:
    """The name of dense weights, and how the weights of plain and of upsampling layers change."""
    if is_older:
        return "fc.weight", _from_tensorflow, lambda tensor: _from_tensorflow(tensor.flip(0, 1))
    return "weight", _as_it_is, lambda tensor: tensor.flip(2, 3)


def _from_tensorflow(tensor: Tensor) -> Tensor:
    return tensor.permute(3, 2, 0, 1)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _plus_one(tensor: Tensor) -> Tensor:
    return tensor + 1


def _move_block_ends(names: Renaming, number: int, layout: tuple[str, Change, Change]) -> None:
    """The colours of a resolution, and the shortcut into it, if it has them."""
    dense, conv, flipped = layout
    block, old = f"synthesis.b{4 << number}", f"synthesis.output{number}"
    if f"{old}.weight" in names:
        names.move(f"{old}.weight", f"{block}.torgb.weight", conv)
        names.move(f"{old}.bias", f"{block}.torgb.bias")
        _move_style(names, old, f"{block}.torgb", dense)
    skip = f"synthesis.skip_layer{number - 1}"
    if f"{skip}.weight" in names:
        names.move(f"{skip}.weight", f"{block}.skip.weight", flipped)
        names.made[f"{block}.skip.resample_filter"] = _kernel(names, f"{skip}.filter")


def _move_style(names: Renaming, old: str, new: str, dense: str) -> None:
    names.move(f"{old}.style.{dense}", f"{new}.affine.weight")
    names.move(f"{old}.style.bias", f"{new}.affine.bias", _plus_one)


def _move_labels(names: Renaming) -> bool:
    """Make the class embedding NVIDIA's, which scales its weights; whether there is one."""
    if "mapping.label_weight" not in names:
        return False
    weight = names.take("mapping.label_weight")  # [classes, z]
    names.made["mapping.embed.weight"] = weight.T.contiguous() * math.sqrt(len(weight))
    names.made["mapping.embed.bias"] = torch.zeros(weight.shape[1])
    return True


def _kernel(names: Renaming, old: str) -> Tensor:
    """The filter kernel of a layer without its gain; genforce correlates, NVIDIA convolves."""
    if f"{old}.kernel" not in names:
        return default_filter()
    names.move(f"{old}.kernel", old, lambda kernel: first_map(kernel).flip(0, 1) / _UP_GAIN)
    return names.made.pop(old)


def _kwargs(names: Renaming, given: dict[str, Any], *, joint: bool) -> dict[str, Any]:
    for key, value in _UNSUPPORTED.items():
        if given.get(key, value) != value:
            names.refuse(f"setting {key} {given[key]!r}, where only {value!r} is computed")
    rate = given.get("mapping_lr_mul") or LR_MULTIPLIER
    sizes = {"resolution": "img_resolution", "z_space_dim": "z_dim", "w_space_dim": "w_dim",
             "image_channels": "img_channels", "label_size": "c_dim"}  # fmt: skip
    stated = {new: given[old] for old, new in sizes.items() if old in given}
    mapping = {"lr_multiplier": rate} | ({"joint_norm": True} if joint else {})
    nvidias = [key for key in _NVIDIAS if key in given]
    return {
        "mapping_kwargs": mapping,
        "synthesis_kwargs": {"conv_clamp": None, "num_fp16_res": 0},
        **stated,
        **{key: given[key] for key in nvidias},
    }
