"""StyleGAN1, PGGAN and DCGAN state dicts: settings inferred from shapes, and assumptions.

Sources: Karras et al. 2019 (StyleGAN), Karras et al. 2018 (progressive growing), Radford et al. 2016
(DCGAN). Layouts: genforce for the first two, the common `main.N` for the third. Names are kept.
"""

import re
from typing import Any

from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.pickles.source import refuse, shown

_PROJECTION_KERNEL = 4
_CONV_AXES = 4
_MOST_LAYERS = 64
_NUMBERS = re.compile(r"\d+")
_BN_EPS = 1e-5


def kwargs_of_stylegan1(state: StateDict) -> tuple[dict[str, Any], list[str]]:
    """Settings of a genforce StyleGAN.

    Raises:
        WeightsError: If tensors are missing.
    """
    depth = state.count("mapping.dense{}.weight")
    num_layers = state.count("synthesis.layer{}.bias")
    label_size = 0
    if "mapping.label_weight" in state.tensors:
        label_size = state.shape("mapping.label_weight")[0]
    inputs = state.shape("mapping.dense0.weight")[1]
    z_dim = state.shape("mapping.label_weight")[1] if label_size else inputs
    resolution = 2 << (num_layers // 2)
    kwargs = {
        "resolution": resolution,
        "z_space_dim": z_dim,
        "w_space_dim": state.shape(f"mapping.dense{depth - 1}.weight")[0],
        "label_size": label_size,
        "mapping_layers": depth,
        "mapping_fmaps": state.shape("mapping.dense0.weight")[0],
        "image_channels": state.shape(f"synthesis.output{num_layers // 2 - 1}.weight")[0],
        "num_layers": num_layers,
        "fused_scale": "auto",
        "lod": _lod(state, "synthesis.lod"),
        "has_w_avg": "truncation.w_avg" in state.tensors,
    }
    return kwargs, [
        "fused_scale 'auto' (transposed convolutions from 128 px on): a state dict does not say"
    ]


def kwargs_of_pggan(state: StateDict) -> tuple[dict[str, Any], list[str]]:
    """Settings of a genforce PGGAN.

    Raises:
        WeightsError: If tensors are missing.
    """
    num_outputs = state.count("output{}.weight")
    kwargs = {
        "resolution": 2 << num_outputs,
        "z_space_dim": state.shape("layer0.weight")[1],
        "label_size": 0,
        "image_channels": state.shape("output0.weight")[0],
        "num_layers": state.count("layer{}.weight"),
        "fused_scale": _is_fused(state),
        "lod": _lod(state, "lod"),
    }
    return kwargs, [
        "no class labels: a state dict does not tell labels from latents",
        f"fused_scale {kwargs['fused_scale']}: seen only where a layer changes its width",
    ]


def _is_fused(state: StateDict) -> bool:
    """Whether upsampling is fused: such layers store [in, out], visible where the width changes."""
    for number in range(2, state.count("layer{}.weight"), 2):
        before = state.shape(f"layer{number - 1}.bias")[0]
        first, second = state.shape(f"layer{number}.weight")[:2]
        if first != second:
            return first == before
    return False


def _lod(state: StateDict, name: str) -> float:
    return float(state.tensors[name]) if name in state.tensors else 0.0


def kwargs_of_dcgan(state: StateDict) -> tuple[dict[str, Any], list[str]]:
    """Settings of a chain of convolutions, ordered by tensor name.

    Strides are known only for the common layout, which begins with a 4x4 layer on a 1x1 map; they are
    null for other layouts.

    Raises:
        WeightsError: If the layers do not follow each other.
    """
    layers = _layers(state)
    names = [layer["name"] for layer in layers]
    kernels = {layer["kernel"] for layer in layers}
    first, last = layers[0], layers[-1]
    common = kernels == {_PROJECTION_KERNEL} and all(
        layer["kind"] == "conv_transpose" for layer in layers
    ) and all(re.fullmatch(r"(main\.)?\d+", name) for name in names)  # fmt: skip
    kwargs: dict[str, Any] = {
        "z_dim": first["in_channels"],
        "img_channels": last["out_channels"],
        "layers": layers,
        "eps": _BN_EPS,
        "final_activation": "tanh",
        "latent": "normal",
        "img_resolution": _PROJECTION_KERNEL << (len(layers) - 1) if common else None,
    }
    assumptions = [
        "batch norm eps 1e-5, ReLU inside and tanh at the end: a state dict does not say"
    ]
    if common:
        for number, layer in enumerate(layers):
            layer["stride"], layer["padding"] = (2, 1) if number else (1, 0)
        assumptions.append("the first layer has stride 1 and no padding, the others 2 and 1")
    else:
        assumptions.append("strides, paddings and the resolution are unknown in this layout")
    return kwargs, assumptions


def _layers(state: StateDict) -> list[dict[str, Any]]:
    weights = sorted(
        (name for name, tensor in state.tensors.items()
         if name.endswith(".weight") and tensor.ndim == _CONV_AXES),
        key=_natural_order,
    )  # fmt: skip
    # Names give the order inside one list; a lone `out` comes last, as widths confirm.
    weights.sort(key=lambda name: name.split(".")[0] in ("out", "final", "output", "last"))
    layers: list[dict[str, Any]] = []
    width = None
    for name in weights[:_MOST_LAYERS]:
        first, second, kernel, other = state.shape(name)
        transposed = width in (None, first)
        if kernel != other or (not transposed and width != second):
            refuse(
                state.file, f"layer {shown(name)} of {first} and {second} channels after {width}",
                "a DCGAN is a chain of square convolutions",
                "it is another architecture; wrap it in a generator plugin",
            )  # fmt: skip
        inputs, width = (first, second) if transposed else (second, first)
        stem = name.removesuffix(".weight")
        layers.append({
            "name": stem,
            "kind": "conv_transpose" if transposed else "conv",
            "in_channels": inputs, "out_channels": width, "kernel": kernel,
            "bias": f"{stem}.bias" in state.tensors,
            "stride": None, "padding": None,
        })  # fmt: skip
    if not layers:
        state.shape("main.0.weight")
    return layers


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key that puts `up.2` before `up.10`."""
    return [(int(part) if _NUMBERS.fullmatch(part) else -1, part) for part in name.split(".")]
