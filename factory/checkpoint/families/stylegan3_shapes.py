"""Validate the tensor names and shapes of a StyleGAN3 or StyleGAN-XL against its layers."""

from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor

from factory.checkpoint.pickles.source import refuse, shown

_INTEGERS = (
    "in_channels", "out_channels", "conv_kernel", "up_factor", "up_taps", "down_factor", "down_taps",
)  # fmt: skip
_NUMBERS = (
    "in_sampling_rate", "out_sampling_rate", "tmp_sampling_rate", "in_cutoff", "out_cutoff",
    "in_half_width", "out_half_width",
)  # fmt: skip
_FLAGS = ("is_torgb", "is_critically_sampled", "use_fp16", "down_radial")
_LARGEST = 2**20
_Shapes = dict[str, tuple[int, ...]]


def check_layer(file: str, name: str, layer: Mapping[str, Any]) -> None:
    """Validate the types of one layer's attributes.

    Raises:
        WeightsError: If one is of another type, or absurdly large.
    """
    clamp = layer["conv_clamp"]
    wrong = [
        *(key for key in _INTEGERS if type(layer[key]) is not int or not 0 < layer[key] < _LARGEST),
        *(key for key in _NUMBERS if not _is_positive(layer[key])),
        *(key for key in _FLAGS if type(layer[key]) is not bool),
        *(key for key in ("in_size", "out_size") if not _are_integers(layer[key], 2)),
        *(["padding"] if not _are_integers(layer["padding"], 4) else []),
        *(["conv_clamp"] if clamp is not None and not _is_positive(clamp) else []),
    ]
    if wrong:
        _refuse(file, f"layer {shown(name)} has {wrong[0]} {shown(layer[wrong[0]])}")


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 < value < _LARGEST


def _are_integers(value: object, count: int) -> bool:
    numbers = value if isinstance(value, list) else [value] * count
    return len(numbers) == count and all(
        type(number) is int and abs(number) < _LARGEST for number in numbers
    )


def check_tensors(file: str, tensors: Mapping[str, Tensor], kwargs: dict[str, Any]) -> None:
    """Validate names and shapes against the network that `kwargs` describe.

    Raises:
        WeightsError: If a tensor is missing, left over, or of another shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    expected = _mapping_shapes(shapes, kwargs) | _input_shapes(shapes, kwargs["w_dim"])
    for name in kwargs["layer_names"]:
        expected |= _layer_shapes(f"synthesis.{name}", kwargs["layers"][name], kwargs["w_dim"])
    for name in sorted(expected.keys() - shapes.keys()):
        _refuse(file, f"tensor {shown(name)} is missing")
    for name in sorted(shapes.keys() - expected.keys()):
        _refuse(file, f"tensor {shown(name)} does not belong to this network")
    for name, shape in expected.items():
        if shapes[name] != shape:
            _refuse(file, f"tensor {shown(name)} has shape {shapes[name]} where {shape} fits")


def _input_shapes(shapes: _Shapes, w_dim: int) -> _Shapes:
    channels = shapes.get("synthesis.input.phases", (0,))[0]
    return {
        "synthesis.input.weight": (channels, channels),
        "synthesis.input.transform": (3, 3),
        "synthesis.input.freqs": (channels, 2),
        "synthesis.input.phases": (channels,),
        "synthesis.input.affine.weight": (4, w_dim),
        "synthesis.input.affine.bias": (4,),
    }


def _layer_shapes(name: str, layer: Mapping[str, Any], w_dim: int) -> _Shapes:
    inputs, outputs, kernel = layer["in_channels"], layer["out_channels"], layer["conv_kernel"]
    shapes: _Shapes = {
        f"{name}.weight": (outputs, inputs, kernel, kernel),
        f"{name}.bias": (outputs,),
        f"{name}.magnitude_ema": (),
        f"{name}.affine.weight": (inputs, w_dim),
        f"{name}.affine.bias": (inputs,),
    }
    if layer["up_taps"] > 1:
        shapes[f"{name}.up_filter"] = (layer["up_taps"],)
    if layer["down_taps"] > 1:
        shapes[f"{name}.down_filter"] = (layer["down_taps"],) * (1 + layer["down_radial"])
    return shapes


def _mapping_shapes(shapes: _Shapes, kwargs: dict[str, Any]) -> _Shapes:
    w_dim, c_dim, z_dim = kwargs["w_dim"], kwargs["c_dim"], kwargs["z_dim"]
    average = (c_dim, w_dim) if len(shapes.get("mapping.w_avg", ())) > 1 else (w_dim,)
    expected: _Shapes = {"mapping.w_avg": average}
    width = z_dim
    embed = shapes.get("mapping.embed.weight")
    if "mapping.embed_proj.weight" in shapes and embed is not None:
        expected |= {  # an embedding may have more rows than the network was trained with classes
            "mapping.embed.weight": embed,
            "mapping.embed_proj.weight": (z_dim, embed[-1]),
            "mapping.embed_proj.bias": (z_dim,),
        }
        width += z_dim
    elif c_dim:
        expected |= {"mapping.embed.weight": (w_dim, c_dim), "mapping.embed.bias": (w_dim,)}
        width += w_dim
    elif embed is not None:  # StyleGAN-XL keeps its embedding even without classes
        expected["mapping.embed.weight"] = embed
    for number in range(kwargs["mapping_kwargs"]["num_layers"]):
        expected |= {
            f"mapping.fc{number}.weight": (w_dim, width),
            f"mapping.fc{number}.bias": (w_dim,),
        }
        width = w_dim
    return expected


def _refuse(file: str, found: str) -> NoReturn:
    refuse(
        file, found, "names and shapes are those of its StyleGAN3 or StyleGAN-XL layers",
        "it is another architecture, or not whole; ask for support of this fork",
    )  # fmt: skip
