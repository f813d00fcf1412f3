"""Validate the settings stated in a file against those that its family can have."""

import math
from typing import Any, NoReturn

from factory.checkpoint.pickles.source import refuse, shown

_LARGEST = 2**20
_COUNTS = {
    "stylegan2": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"),
    "stylegan3": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "num_ws"),
    "stylegan_xl": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "num_ws"),
    "biggan_deep_hf": ("output_dim", "z_dim", "class_embed_dim", "channel_width", "num_classes"),
    "biggan_ajbrock": ("dim_z", "n_classes", "resolution", "img_channels"),
    "stylegan1": ("resolution", "z_space_dim", "w_space_dim", "image_channels"),
    "pggan": ("resolution", "z_space_dim", "image_channels"),
    "dcgan": ("z_dim", "img_channels"),
}
_ARCHITECTURES = ("orig", "skip", "resnet")


def check_settings(file: str, family: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return `kwargs` if every setting that determines a tensor shape is a number of a sensible size.

    Raises:
        WeightsError: If one is not.
    """
    for key in _COUNTS[family]:
        value = kwargs.get(key)
        if type(value) is not int or not 0 <= value <= _LARGEST:
            _refuse(file, key, value)
    if family not in ("stylegan2", "stylegan3", "stylegan_xl"):
        return kwargs
    mapping, synthesis = kwargs.get("mapping_kwargs"), kwargs.get("synthesis_kwargs")
    if not isinstance(mapping, dict) or not isinstance(synthesis, dict):
        _refuse(file, "mapping_kwargs or synthesis_kwargs", mapping)
    depth, rate = mapping.get("num_layers"), mapping.get("lr_multiplier")
    if type(depth) is not int or not 0 < depth <= _LARGEST:
        _refuse(file, "mapping_kwargs.num_layers", depth)
    if not _is_positive(rate):
        _refuse(file, "mapping_kwargs.lr_multiplier", rate)
    if family == "stylegan2":
        _check_synthesis(file, synthesis)
    return kwargs


def _check_synthesis(file: str, synthesis: dict[str, Any]) -> None:
    clamp, fp16 = synthesis.get("conv_clamp"), synthesis.get("num_fp16_res")
    if clamp is not None and not _is_positive(clamp):
        _refuse(file, "synthesis_kwargs.conv_clamp", clamp)
    if type(fp16) is not int or not 0 <= fp16 <= _LARGEST:
        _refuse(file, "synthesis_kwargs.num_fp16_res", fp16)
    if synthesis.get("architecture") not in _ARCHITECTURES:
        _refuse(file, "synthesis_kwargs.architecture", synthesis.get("architecture"))


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < _LARGEST and math.isfinite(value)  # type: ignore[operator, arg-type]


def _refuse(file: str, key: str, value: object) -> NoReturn:
    refuse(
        file, f"setting {key} is {shown(value)}", "settings are numbers of a sensible size",
        "give the settings that belong to these weights",
    )  # fmt: skip
