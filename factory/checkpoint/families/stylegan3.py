"""StyleGAN3 and StyleGAN-XL in NVIDIA's names: the settings of every layer, from its state.

Sources: Karras et al. 2021, "Alias-free generative adversarial networks", section 3 and appendix C
(the layers); Sauer et al. 2022, "StyleGAN-XL" (class embedding, super-resolution head). The order
of the layers is the file's `layer_names`, never the numbers in the names: XL's skip some.
"""

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NoReturn

from torch import Tensor

from factory.checkpoint.families.stylegan2 import ASSUMED_LR, LR_MULTIPLIER
from factory.checkpoint.families.stylegan3_shapes import check_layer
from factory.checkpoint.pickles.modules import ModuleTree
from factory.checkpoint.pickles.source import refuse, shown

_LAYER_ATTRIBUTES = (
    "is_torgb", "is_critically_sampled", "use_fp16", "in_channels", "out_channels", "in_size",
    "out_size", "in_sampling_rate", "out_sampling_rate", "tmp_sampling_rate", "in_cutoff",
    "out_cutoff", "in_half_width", "out_half_width", "conv_kernel", "conv_clamp", "up_factor",
    "up_taps", "down_factor", "down_taps", "down_radial", "padding",
)  # fmt: skip
_INPUT_ATTRIBUTES = ("channels", "size", "sampling_rate", "bandwidth")
_PLAN_SETTINGS = (
    "channel_base", "channel_max", "num_layers", "num_critical", "first_cutoff", "first_stopband",
    "last_stopband_rel", "margin_size", "num_fp16_res",
)  # fmt: skip
_FILTER_PLAN = (
    "num_critical", "first_cutoff", "first_stopband", "last_stopband_rel", "margin_size",
)  # fmt: skip
_WRITTEN = (
    "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "num_ws", "mapping_kwargs",
    "synthesis_kwargs", "output_scale", "input", "layer_names", "layers",
)  # fmt: skip
"""What a converted file states."""
_PUBLISHED = {
    "num_critical": 2, "first_cutoff": 2, "first_stopband": 2**2.1, "last_stopband_rel": 2**0.3,
    "margin_size": 10, "num_fp16_res": 4, "conv_clamp": 256,
}  # fmt: skip
"""Settings of all published networks (Karras et al. 2021, appendix D)."""
_ASSUMED_PLAN = (
    "StyleGAN3's published filter plan (first_cutoff 2, first_stopband 2^2.1, last_stopband_rel "
    "2^0.3, 2 critical layers) and conv_clamp 256: a bare state dict does not say"
)
_OUTPUT_SCALE = 0.25
_MOST_LAYERS = 64
_Spec = tuple[tuple[int, ...], float, float, int, int]
"""Weight shape, cutoff, half-width, rate and size of a layer."""
_NAME = re.compile(r"L(\d{1,3})_(\d{1,5})_(\d{1,5})")


def kwargs_of_tree(tree: ModuleTree) -> dict[str, Any]:
    """All settings that are needed to rebuild the network, from its state.

    `layers` maps each name of `layer_names` to that layer's attributes and, under `init_kwargs`, the
    arguments it was made with.

    Raises:
        WeightsError: If the layers are not StyleGAN3's.
    """
    root, mapping = tree.root, tree.module("mapping")
    synthesis, first = tree.module("synthesis"), tree.module("synthesis.input")
    names = synthesis.get("layer_names")
    if not isinstance(names, list) or not 0 < len(names) <= _MOST_LAYERS:
        _refuse(tree.file, "no list layer_names")
    present = [path.removeprefix("synthesis.") for path in tree.modules
               if path.startswith("synthesis.L") and path.count(".") == 1]  # fmt: skip
    if sorted(map(str, names)) != sorted(present):
        _refuse(tree.file, "layer_names that are not the layers of the network")
    kwargs: dict[str, Any] = {
        key: root.get(key) if root.has(key) else mapping.get(key)
        for key in ("z_dim", "c_dim", "w_dim")
    }
    layers = {name: _layer(tree, name) for name in names}
    last = layers[names[-1]]
    return {
        **kwargs,
        "img_resolution": root.get("img_resolution"),
        "img_channels": last["out_channels"],
        "num_ws": mapping.get("num_ws"),
        "mapping_kwargs": {
            "num_layers": mapping.get("num_layers"),
            "lr_multiplier": tree.module("mapping.fc0").get("bias_gain"),
        },
        "synthesis_kwargs": {
            key: synthesis.get(key) for key in _PLAN_SETTINGS if synthesis.has(key)
        },
        "output_scale": synthesis.get("output_scale")
        if synthesis.has("output_scale")
        else _OUTPUT_SCALE,
        "input": {key: first.get(key) for key in _INPUT_ATTRIBUTES},
        "layer_names": names,
        "layers": layers,
    }


def _layer(tree: ModuleTree, name: str) -> dict[str, Any]:
    module = tree.module(f"synthesis.{name}")
    missing = [key for key in _LAYER_ATTRIBUTES if not module.has(key)]
    if missing:
        _refuse(tree.file, f"layer {shown(name)} does not say its {missing[0]}")
    made_with = {key: value for key, value in module.init_kwargs.items() if key != "path_stem"}
    layer = {key: module.get(key) for key in _LAYER_ATTRIBUTES}
    check_layer(tree.file, name, layer)
    if not layer["is_torgb"]:
        finer = max(layer["in_sampling_rate"], layer["out_sampling_rate"])
        layer["lrelu_upsampling"] = layer["tmp_sampling_rate"] // finer
    return {**layer, "init_kwargs": made_with}


def kwargs_of_tensors(
    file: str, tensors: Mapping[str, Tensor], given: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The same from a bare state dict: the published layers, validated against names and shapes.

    Raises:
        WeightsError: If names or shapes differ from the published network's.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    given = {**(given.get("synthesis_kwargs") or {}), **given}
    if "layers" in given and "layer_names" in given:
        return _with_settings(file, given), []
    names = _names_by_number(file, shapes)
    resolution = int(names[-1].split("_")[1])
    stated = {key: value for key, value in given.items() if key in (*_PLAN_SETTINGS, "conv_clamp")}
    settings = {**_PUBLISHED, **stated, "num_layers": len(names) - 1}
    layers = _published_layers(file, settings, resolution, names, shapes)
    mapping = dict(given.get("mapping_kwargs") or {})
    if "lr_multiplier" in given:
        mapping["lr_multiplier"] = given["lr_multiplier"]
    depth = 0
    while f"mapping.fc{depth}.weight" in shapes:
        depth += 1
    embed = shapes.get("mapping.embed.weight", (0, 0))
    is_xl = "mapping.embed_proj.weight" in shapes
    w_dim, width = shapes[f"mapping.fc{depth - 1}.weight"][0], shapes["mapping.fc0.weight"][1]
    z_dim = width // 2 if is_xl else width - embed[0]
    first = layers[names[0]]
    assumptions = [] if "lr_multiplier" in mapping else [ASSUMED_LR]
    assumptions += [] if stated else [_ASSUMED_PLAN]
    kwargs = {
        "z_dim": z_dim,
        "c_dim": embed[0] if is_xl else embed[1],
        "w_dim": w_dim,
        "img_resolution": resolution,
        "img_channels": layers[names[-1]]["out_channels"],
        "num_ws": len(names) + 1,
        "mapping_kwargs": {"lr_multiplier": LR_MULTIPLIER, **mapping, "num_layers": depth},
        "synthesis_kwargs": settings,
        "output_scale": given.get("output_scale", _OUTPUT_SCALE),
        "input": {
            "channels": first["in_channels"], "size": first["in_size"],
            "sampling_rate": first["in_sampling_rate"], "bandwidth": first["in_cutoff"],
        },
        "layer_names": names,
        "layers": layers,
    }  # fmt: skip
    for key in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"):
        if given.get(key, kwargs[key]) != kwargs[key]:
            _refuse(file, f"{key} {given[key]!r} in the settings, {kwargs[key]} in the tensors")
    return kwargs, assumptions


def _with_settings(file: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file that states its layers, with what a job or config sets anew."""
    fixed = sorted(given.keys() & set(_FILTER_PLAN))
    stated = given.get("synthesis_kwargs") or {}
    changed = [key for key in fixed if given[key] != stated.get(key, given[key])]
    if changed:
        _refuse(
            file, f"setting {changed[0]} {given[changed[0]]!r} for a file that states its layers"
        )
    kwargs = {key: given[key] for key in _WRITTEN if key in given}
    if "lr_multiplier" in given:
        mapping = given.get("mapping_kwargs") or {}
        kwargs["mapping_kwargs"] = {**mapping, "lr_multiplier": given["lr_multiplier"]}
    if "conv_clamp" in given:
        kwargs["layers"] = {
            name: {**layer, "conv_clamp": given["conv_clamp"]}
            for name, layer in given["layers"].items()
        }
    return kwargs


def _names_by_number(file: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    found: dict[int, str] = {}
    for name in shapes:
        parts = name.split(".")
        match = _NAME.fullmatch(parts[1]) if parts[0] == "synthesis" and len(parts) > 1 else None
        if match is not None:
            found[int(match[1])] = parts[1]
    names = [found[number] for number in sorted(found)]
    if len(names) < 4 or sorted(found) != list(range(len(names))):
        _refuse(
            file, "layers whose numbers have gaps (a super-resolution network without its order)"
        )
    if f"synthesis.{names[-1]}.weight" not in shapes or "mapping.fc0.weight" not in shapes:
        _refuse(file, "layers without weights")
    return names


def _published_layers(
    file: str,
    settings: dict[str, Any],
    resolution: int,
    names: list[str],
    shapes: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """The layers of Karras et al. 2021, appendix C, as attributes per layer."""
    count, critical = settings["num_layers"], settings["num_critical"]
    first_cutoff, first_stop = settings["first_cutoff"], settings["first_stopband"]
    last_cutoff = resolution / 2
    last_stop = last_cutoff * settings["last_stopband_rel"]
    specs = []
    for number, name in enumerate(names):
        share = min(number / (count - critical), 1)
        cutoff = first_cutoff * (last_cutoff / first_cutoff) ** share
        stop = first_stop * (last_stop / first_stop) ** share
        rate = 2 ** math.ceil(math.log2(min(stop * 2, resolution)))
        size = resolution if number >= count - 1 else rate + 2 * settings["margin_size"]
        shape = shapes.get(f"synthesis.{name}.weight", ())
        if len(shape) != 4 or int(name.split("_")[1]) != size:
            _refuse(file, f"layer {name} where the published network has a size of {size}")
        specs.append((shape, cutoff, max(stop, rate / 2) - cutoff, rate, size))
    layers = {}
    for number, (before, spec) in enumerate(pairwise([specs[0], *specs])):
        radial = len(shapes.get(f"synthesis.{names[number]}.down_filter", ())) == 2
        layers[names[number]] = _published_layer(before, spec, settings, resolution, {
            "is_torgb": number == count,
            "is_critically_sampled": number >= count - critical,
            "down_radial": radial,
        })  # fmt: skip
    return layers


def _published_layer(
    before: _Spec, spec: _Spec, settings: dict[str, Any], resolution: int, flags: dict[str, bool]
) -> dict[str, Any]:
    _, in_cutoff, in_width, in_rate, in_size = before
    (out_channels, in_channels, kernel, _), out_cutoff, out_width, out_rate, out_size = spec
    colours = flags["is_torgb"]
    middle = max(in_rate, out_rate) * (1 if colours else 2)
    up, down = middle // in_rate, middle // out_rate
    up_taps = 6 * up if up > 1 and not colours else 1
    down_taps = 6 * down if down > 1 and not colours else 1
    total = (out_size - 1) * down + 1 - (in_size + kernel - 1) * up + up_taps + down_taps - 2
    low = (total + up) // 2
    return {
        **flags,
        "use_fp16": out_rate * 2 ** settings["num_fp16_res"] > resolution,
        "in_channels": in_channels, "out_channels": out_channels,
        "in_size": [in_size, in_size], "out_size": [out_size, out_size],
        "in_sampling_rate": in_rate, "out_sampling_rate": out_rate, "tmp_sampling_rate": middle,
        "in_cutoff": in_cutoff, "out_cutoff": out_cutoff,
        "in_half_width": in_width, "out_half_width": out_width,
        "conv_kernel": kernel, "conv_clamp": settings["conv_clamp"],
        "up_factor": up, "up_taps": up_taps, "down_factor": down, "down_taps": down_taps,
        "padding": [low, total - low, low, total - low], "init_kwargs": {},
    }  # fmt: skip


def _refuse(file: str, found: str) -> NoReturn:
    refuse(
        file, found, "modules, names and sizes are StyleGAN3's or StyleGAN-XL's",
        "it is another architecture, or not whole; ask for support of this fork",
    )  # fmt: skip
