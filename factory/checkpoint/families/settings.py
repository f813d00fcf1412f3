"""Validate the settings stated in a file against those that its family can have."""

import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from pydantic import ValidationError

from factory.checkpoint.base import Family
from factory.checkpoint.pickles.source import refuse
from factory.checkpoint.pickles.source import shown as shown_text
from factory.spec.generators import FAMILY_SETTINGS, DCGANLayer, check_family_settings

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


def check_given(file: str, family: Family, given: dict[str, Any]) -> dict[str, Any]:
    """Return `given` if its settings of this family have the types and sizes that they may have.

    Other keys, such as sizes that show in the tensors, are not checked.

    Raises:
        WeightsError: If not; the message names the first wrong one.
    """
    names = FAMILY_SETTINGS[family].model_fields.keys()
    chosen = {name: given[name] for name in names if given.get(name) is not None}
    if family == "dcgan" and isinstance(chosen.get("layers"), list):
        chosen["layers"] = [_of_layer(layer) for layer in chosen["layers"]]
    try:
        check_family_settings(family, chosen)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        rule = problem["msg"].removeprefix("Value error, ")
        refuse(
            file, f"setting {where} is {shown_text(problem['input'])}", rule[0].lower() + rule[1:],
            "give the settings that belong to these weights",
        )  # fmt: skip
    return given


def _of_layer(layer: object) -> object:
    """The settings of a layer; a converted file also states what the tensors show."""
    if not isinstance(layer, dict):
        return layer
    return {key: value for key, value in layer.items() if key in DCGANLayer.model_fields}


def check_stated(file: str, given: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    """Validate what a config states against what the tensors show.

    Raises:
        WeightsError: If one differs.
    """
    for key, value in shown.items():
        if given.get(key) is not None and given[key] != value:
            refuse(
                file, f"{key} {shown_text(given[key])} in the settings, {value} in the tensors",
                "both describe one network", "give the settings that belong to these weights",
            )  # fmt: skip


def note_ignored(given: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """A note on what a config states and nothing here reads; empty if there is nothing."""
    ignored = [shown_text(key, 40) for key in given if key not in known]
    if not ignored:
        return []
    more = f" and {len(ignored) - 20} more" if len(ignored) > 20 else ""
    return [f"ignored settings: {', '.join(ignored[:20])}{more}"]


def width_warnings(width: int, setting: str) -> list[str]:
    """A warning where a first layer is as wide as latents rarely are: labels may be part of it.

    Latents are powers of two or multiples of 50 wide, in nearly all programs.
    """
    usual = {50 * times for times in range(1, 40)} | {1 << bits for bits in range(4, 14)} | {62}
    if width in usual:
        return []
    spare = width - max((size for size in usual if size < width), default=0)
    return [
        f"the first layer has {width} inputs, an unusual width for a latent; if the last "
        f"{spare} are the one-hot label of a class, set generator.settings: {{{setting}: {spare}}}"
    ]


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
        file, f"setting {key} is {shown_text(value)}", "settings are numbers of a sensible size",
        "give the settings that belong to these weights",
    )  # fmt: skip
