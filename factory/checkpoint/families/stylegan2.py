"""StyleGAN2 in NVIDIA's names: settings from a pickled network or from tensors, and validation.

Sources: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", and the default
settings of the two public programs that write these networks: the ADA repository nests the synthesis
settings, the StyleGAN3 repository does not, and a setting left out means the writer's default.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from factory.checkpoint.families.mean_style import NUM_SAMPLES, mean_style
from factory.checkpoint.pickles.modules import Module, ModuleTree
from factory.checkpoint.pickles.source import refuse

LR_MULTIPLIER = 0.01
ASSUMED_LR = f"mapping lr_multiplier {LR_MULTIPLIER}: a bare state dict does not say"
ASSUMED_CLAMP = "no conv_clamp: a bare state dict does not say"
_LAYERS = (".conv0", ".conv1", ".torgb")
_SIZES = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
_CONFIG_KEYS = ("mapping_kwargs", "synthesis_kwargs", "channel_base", "z_dim")
_REMEDY = "it is another architecture than StyleGAN2, or not whole; ask for support of this fork"


def default_filter() -> Tensor:
    """The [1, 3, 3, 1] low-pass filter as a 2-D kernel that sums to one."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def kwargs_of_tree(tree: ModuleTree) -> tuple[dict[str, Any], str]:
    """Settings and layout name of a pickled network, from its state, validated against init kwargs.

    Raises:
        WeightsError: If layers differ from what StyleGAN2 has, or state and init kwargs disagree.
    """
    root, init = tree.root, tree.root.init_kwargs
    nested = "synthesis_kwargs" in init
    given = init["synthesis_kwargs"] if nested else init
    if not isinstance(given, dict):
        _refuse(tree.file, "synthesis_kwargs that are no dict")
    blocks = [module for path, module in tree.modules.items()
              if path.startswith("synthesis.b") and path.count(".") == 1]  # fmt: skip
    layers = [module for path, module in tree.modules.items()
              if path.startswith("synthesis.b") and path.endswith(_LAYERS)]  # fmt: skip
    first = tree.module("mapping.fc0")
    _check_activations(tree)
    # The StyleGAN3 repository writes flat settings, or none but with its own default clamp.
    clamp = _same(tree, layers, "conv_clamp")
    flat = not nested and ("channel_base" in init or clamp is not None)
    if "conv_clamp" in given and given["conv_clamp"] != clamp:
        _refuse(
            tree.file, f"conv_clamp {clamp!r} in the layers, {given['conv_clamp']!r} in the kwargs"
        )
    num_fp16 = given.get("num_fp16_res")
    if num_fp16 is None:
        num_fp16 = sum(bool(block.get("use_fp16")) for block in blocks) or (4 if flat else 0)
    synthesis = {
        key: given[key] for key in ("channel_base", "channel_max") if given.get(key) is not None
    }
    kwargs = {
        key: root.get(key) for key in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    }
    kwargs["mapping_kwargs"] = {
        "num_layers": tree.module("mapping").get("num_layers"),
        "lr_multiplier": first.get("bias_gain"),
    }
    kwargs["synthesis_kwargs"] = {
        **synthesis,
        "conv_clamp": clamp,
        "architecture": _same(tree, blocks, "architecture"),
        "num_fp16_res": num_fp16,
    }
    return kwargs, "nvidia-pkl (StyleGAN3 repository)" if flat else "nvidia-pkl (ADA repository)"


def kwargs_of_tensors(
    file: str, tensors: Mapping[str, Tensor], given: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Settings inferred from shapes, completed by `given` (nested or flat), and assumptions.

    Raises:
        WeightsError: If essential tensors are missing.
    """
    mapping, synthesis, assumptions = _given_settings(given)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    resolutions = _resolutions(shapes)
    last = shapes.get(f"synthesis.b{resolutions[-1]}.torgb.weight", (0,)) if resolutions else (0,)
    first = shapes.get("mapping.fc0.weight", (0, 0))
    embed = shapes.get("mapping.embed.weight", (0, 0))
    num_layers = _count(shapes)
    if not resolutions or not num_layers or len(first) != 2 or len(embed) != 2 or not last:
        _refuse(file, "a StyleGAN2 without mapping.fc0, b4.conv1 or its last torgb")
    mapping["num_layers"] = num_layers
    synthesis.setdefault("architecture", _architecture(shapes, resolutions))
    kwargs: dict[str, Any] = {
        "z_dim": first[1] - embed[0],
        "c_dim": embed[1],
        "w_dim": shapes[f"mapping.fc{num_layers - 1}.weight"][0],
        "img_resolution": resolutions[-1],
        "img_channels": last[0],
    }
    for key, value in kwargs.items():
        if given.get(key, value) != value:
            _refuse(file, f"{key} {given[key]!r} in the settings, {value} in the tensors")
    return {**kwargs, "mapping_kwargs": mapping, "synthesis_kwargs": synthesis}, assumptions


def _given_settings(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Mapping and synthesis settings, nested or flat (which wins), completed by defaults."""
    mapping = dict(given.get("mapping_kwargs") or {})
    synthesis = dict(given.get("synthesis_kwargs") or {})
    flat = "synthesis_kwargs" not in given and "channel_base" in given
    for key in ("channel_base", "channel_max", "conv_clamp", "architecture", "num_fp16_res"):
        if key in given:
            synthesis[key] = given[key]
    if "lr_multiplier" in given:
        mapping["lr_multiplier"] = given["lr_multiplier"]
    # A config that states the network leaves out what is its program's default.
    is_whole = not given.keys().isdisjoint(_CONFIG_KEYS)
    assumptions = []
    if "lr_multiplier" not in mapping:
        mapping["lr_multiplier"] = LR_MULTIPLIER
        if not is_whole:
            assumptions.append(ASSUMED_LR)
    if "conv_clamp" not in synthesis:
        synthesis["conv_clamp"] = 256 if flat else None
        if not is_whole:
            assumptions.append(ASSUMED_CLAMP)
    synthesis.setdefault("num_fp16_res", 4 if flat else 0)
    return mapping, synthesis, assumptions


def add_filters(tensors: dict[str, Tensor]) -> list[str]:
    """Add missing resample filters in place; returns a note for each change."""
    parts = {name.rsplit(".", maxsplit=1)[0] for name in tensors if name.startswith("synthesis.b")}
    owners = {part for part in parts if part.endswith((".conv0", ".conv1", ".skip"))}
    owners |= {owner.rsplit(".", maxsplit=1)[0] for owner in owners}
    missing = [owner for owner in sorted(owners) if f"{owner}.resample_filter" not in tensors]
    for owner in missing:
        tensors[f"{owner}.resample_filter"] = default_filter()
    if not missing:
        return []
    return [f"{len(missing)} resample filters [1, 3, 3, 1]: the file has none there"]


def add_mean_style(file: str, tensors: dict[str, Tensor], kwargs: dict[str, Any]) -> list[str]:
    """Validate all tensors and add the mean style if it is missing; returns a note for each change.

    Raises:
        WeightsError: If a tensor is missing, left over, or of another shape.
    """
    missing = "mapping.w_avg" not in tensors and not kwargs["c_dim"]
    if missing:
        tensors["mapping.w_avg"] = torch.zeros(kwargs["w_dim"])
    check_tensors(file, tensors, kwargs)
    if not missing:
        return []
    tensors["mapping.w_avg"] = mean_style(tensors, kwargs["mapping_kwargs"]["lr_multiplier"])
    return [
        f"mapping.w_avg computed as the mean of {NUM_SAMPLES} styles from a fixed seed: the file "
        "has no latent average, so truncated images differ slightly from the original program's"
    ]


def check_tensors(file: str, tensors: Mapping[str, Tensor], kwargs: dict[str, Any]) -> None:
    """Validate names and shapes against the network that `kwargs` describe.

    Raises:
        WeightsError: If a tensor is missing, left over, or of another shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    expected = _expected_shapes(shapes, kwargs)
    for name in sorted(expected.keys() - shapes.keys()):
        _refuse(file, f"tensor {name!r} is missing")
    for name in sorted(shapes.keys() - expected.keys()):
        _refuse(file, f"tensor {name[:80]!r} does not belong to a StyleGAN2")
    for name, shape in expected.items():
        if shape is not None and shapes[name] != shape:
            _refuse(file, f"tensor {name!r} has shape {shapes[name]} where {shape} fits")
    if kwargs["mapping_kwargs"]["num_layers"] != _count(shapes):
        _refuse(file, f"{_count(shapes)} mapping layers, another number in the settings")


_Shapes = dict[str, tuple[int, ...]]
_Expected = dict[str, tuple[int, ...] | None]


def _expected_shapes(shapes: _Shapes, kwargs: dict[str, Any]) -> _Expected:
    w_dim, c_dim, image = kwargs["w_dim"], kwargs["c_dim"], kwargs["img_channels"]
    expected: _Expected = {"mapping.w_avg": (w_dim,)}
    width = kwargs["z_dim"]
    if c_dim:
        embedded = shapes.get("mapping.embed.bias", (w_dim,))[0]
        expected |= {"mapping.embed.weight": (embedded, c_dim), "mapping.embed.bias": (embedded,)}
        width += embedded
    for number in range(_count(shapes)):
        out = shapes.get(f"mapping.fc{number}.bias", (w_dim,))[0]
        expected |= {f"mapping.fc{number}.weight": (out, width), f"mapping.fc{number}.bias": (out,)}
        width = out
    channels = shapes.get("synthesis.b4.const", (0,))[0]
    architecture = kwargs["synthesis_kwargs"]["architecture"]
    resolution = 4
    while resolution <= kwargs["img_resolution"]:
        block = f"synthesis.b{resolution}"
        inputs, channels = channels, shapes.get(f"{block}.conv1.bias", (0,))[0]
        expected[f"{block}.resample_filter"] = None
        if resolution == 4:
            expected[f"{block}.const"] = (inputs, 4, 4)
        else:
            expected |= _conv(shapes, f"{block}.conv0", (channels, inputs), resolution, w_dim)
        expected |= _conv(shapes, f"{block}.conv1", (channels, channels), resolution, w_dim)
        if architecture == "skip" or resolution == kwargs["img_resolution"]:
            expected |= {
                f"{block}.torgb.weight": (image, channels, 1, 1),
                f"{block}.torgb.bias": (image,),
                f"{block}.torgb.affine.weight": (channels, w_dim),
                f"{block}.torgb.affine.bias": (channels,),
            }
        if architecture == "resnet" and resolution > 4:
            expected |= {f"{block}.skip.weight": (channels, inputs, 1, 1),
                         f"{block}.skip.resample_filter": None}  # fmt: skip
        resolution *= 2
    return expected


def _conv(
    shapes: _Shapes, name: str, channels: tuple[int, int], resolution: int, w_dim: int
) -> _Expected:
    outputs, inputs = channels
    expected: _Expected = {
        f"{name}.weight": (outputs, inputs, 3, 3),
        f"{name}.bias": (outputs,),
        f"{name}.affine.weight": (inputs, w_dim),
        f"{name}.affine.bias": (inputs,),
        f"{name}.resample_filter": None,
    }
    if f"{name}.noise_const" in shapes or f"{name}.noise_strength" in shapes:
        expected |= {f"{name}.noise_const": (resolution, resolution), f"{name}.noise_strength": ()}
    return expected


def _resolutions(shapes: _Shapes) -> list[int]:
    resolutions: list[int] = []
    while f"synthesis.b{4 << len(resolutions)}.conv1.weight" in shapes:
        resolutions.append(4 << len(resolutions))
    return resolutions


def _architecture(shapes: _Shapes, resolutions: list[int]) -> str:
    if any(name.endswith(".skip.weight") for name in shapes):
        return "resnet"
    colours = sum(f"synthesis.b{resolution}.torgb.weight" in shapes for resolution in resolutions)
    return "skip" if colours == len(resolutions) else "orig"


def _count(shapes: _Shapes) -> int:
    number = 0
    while f"mapping.fc{number}.weight" in shapes:
        number += 1
    return number


def _same(tree: ModuleTree, modules: list[Module], name: str) -> Any:  # noqa: ANN401 - JSON
    values = [module.get(name) for module in modules]
    if not values or any(value != values[0] for value in values):
        _refuse(tree.file, f"{name} differs between layers, or there is no layer")
    return values[0]


def _check_activations(tree: ModuleTree) -> None:
    for path, module in tree.modules.items():
        parts = path.split(".")
        if parts[-1] == "affine" or path == "mapping.embed":
            wanted = "linear"
        elif parts[-1] in ("conv0", "conv1") or (
            parts[0] == "mapping" and parts[-1].startswith("fc")
        ):
            wanted = "lrelu"
        else:
            continue
        if module.has("activation") and module.get("activation") != wanted:
            _refuse(tree.file, f"{path} has activation {module.get('activation')!r}")


def _refuse(file: str, found: str) -> NoReturn:
    refuse(file, found, "names, shapes and settings are StyleGAN2's", _REMEDY)
