"""BigGAN in its two public layouts: settings from tensor shapes, a config, and assumptions.

Sources: Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis",
appendix B; the layouts are those of the authors' PyTorch program and of the Hugging Face port.
Tensors keep the names their program gave them.
"""

import math
from typing import Any, NoReturn

from factory.checkpoint.families.settings import check_stated
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.pickles.source import refuse

_HF_KEYS = (
    "output_dim", "z_dim", "class_embed_dim", "channel_width", "num_classes", "layers",
    "attention_layer_position", "eps", "n_stats",
)  # fmt: skip
_HF_EPS = 1e-4
_STATED = ("n_classes", "resolution", "shared_dim", "img_channels")
"""Settings of the authors' program that are compared with the tensors; its dim_z is rounded."""
_START = 4
_MOST_BLOCKS = 64


def kwargs_of_hf(state: StateDict, config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings of a Hugging Face BigGAN-deep: its config, validated against the tensor shapes.

    Raises:
        WeightsError: If config and tensors disagree, or tensors are missing.
    """
    shown = _hf_of_shapes(state)
    if not config:
        return shown, [
            "every second layer doubles the resolution and eps is 1e-4: there is no config.json"
        ]
    kwargs = {key: config[key] for key in _HF_KEYS if key in config}
    for key, value in shown.items():
        given = kwargs.setdefault(key, value)
        if key == "layers":
            widths = [list(layer[1:]) for layer in given] if _are_layers(given) else None
            if widths != [layer[1:] for layer in value]:
                _refuse(state.file, "config.json has other layers than the tensors")
        elif key not in ("eps", "output_dim") and given != value:
            _refuse(state.file, f"{key} {given!r} in config.json, {value!r} in the tensors")
    ups = sum(bool(layer[0]) for layer in kwargs["layers"])
    if kwargs["output_dim"] != _START << ups:
        _refuse(state.file, f"output_dim {kwargs['output_dim']!r} with {ups} doublings of {_START}")
    return kwargs, []


def _are_layers(layers: object) -> bool:
    return isinstance(layers, list) and all(
        isinstance(layer, list) and len(layer) == 3 for layer in layers
    )


def _hf_of_shapes(state: StateDict) -> dict[str, Any]:
    embed_dim, num_classes = state.shape("embeddings.weight")
    hidden, cond = state.shape("generator.gen_z.weight_orig")
    width = state.shape("generator.bn.running_means")[1]
    layers: list[list[Any]] = []
    attention = None
    for number in range(_MOST_BLOCKS):
        prefix = f"generator.layers.{number}"
        if f"{prefix}.gamma" in state.tensors:
            attention = number
            continue
        if f"{prefix}.conv_0.weight_orig" not in state.tensors:
            break
        inputs = state.shape(f"{prefix}.conv_0.weight_orig")[1]
        outputs = state.shape(f"{prefix}.conv_3.weight_orig")[0]
        layers.append([len(layers) % 2 == 1, inputs // width, outputs // width])
    if not layers or hidden != layers[0][1] * width * _START * _START:
        _refuse(state.file, f"gen_z with {hidden} outputs before layers of another width")
    return {
        "output_dim": _START << sum(bool(layer[0]) for layer in layers),
        "z_dim": cond - embed_dim,
        "class_embed_dim": embed_dim,
        "channel_width": width,
        "num_classes": num_classes,
        "layers": layers,
        "attention_layer_position": attention,
        "eps": _HF_EPS,
        "n_stats": state.shape("generator.bn.running_means")[0],
    }


def kwargs_of_ajbrock(state: StateDict, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings of a network of the authors' program: from tensor shapes, and from `given`.

    Raises:
        WeightsError: If the shapes contradict each other, or what is given.
    """
    blocks: list[dict[str, Any]] = []
    while f"blocks.{len(blocks)}.0.conv1.weight" in state.tensors and len(blocks) < _MOST_BLOCKS:
        blocks.append(_block(state, len(blocks)))
    shared = "shared.weight" in state.tensors
    deep = "blocks.0.0.conv4.weight" in state.tensors
    stats = state.shape("blocks.0.0.bn1.gain.weight")
    first_channels = state.shape("blocks.0.0.conv1.weight")[1]
    hidden, linear_in = state.shape("linear.weight")
    bottom = math.isqrt(hidden // first_channels)
    if bottom * bottom * first_channels != hidden:
        _refuse(state.file, f"a first layer of {hidden} outputs for {first_channels} channels")
    shared_dim = state.shape("shared.weight")[1] if shared else 0
    num_classes = state.shape("shared.weight")[0] if shared else stats[0]
    chunk = stats[1] - shared_dim if shared else 0
    hier = chunk > 0
    if deep:
        dim_z = linear_in - shared_dim
    else:
        dim_z = chunk * (len(blocks) + 1) if hier else linear_in
        if hier and linear_in != chunk:
            _refuse(state.file, f"a first layer of {linear_in} inputs with latent parts of {chunk}")
    depth = (given.get("G_depth") or _depth(blocks)) if deep else 1
    if len(blocks) % depth:
        _refuse(state.file, f"G_depth {depth} with {len(blocks)} blocks")
    kwargs = {
        "dim_z": dim_z,
        "n_classes": num_classes,
        "G_shared": shared,
        "shared_dim": shared_dim,
        "hier": hier,
        "deep": deep,
        "G_depth": depth,
        "bottom_width": bottom,
        "resolution": bottom << (len(blocks) // depth),
        "img_channels": state.shape("output_layer.2.weight")[0],
        "blocks": blocks,
        "cross_replica": "blocks.0.0.bn1.bn.stored_mean" in state.tensors,
        "SN_eps": given.get("SN_eps") or 1e-6,
        "BN_eps": given.get("BN_eps") or 1e-5,
    }
    check_stated(state.file, given, {key: kwargs[key] for key in _STATED})
    return kwargs, _assumptions(given, kwargs)


def _assumptions(given: dict[str, Any], kwargs: dict[str, Any]) -> list[str]:
    """What a state dict does not say, and neither does `given`."""
    depth = kwargs["G_depth"]
    deep = f"G_depth {depth}: every {depth}. block doubles the resolution, by its widths"
    return [
        *([deep] if kwargs["deep"] and "G_depth" not in given else []),
        *([] if "BN_eps" in given else ["BN_eps 1e-5: a bare state dict does not say"]),
        "truncation scales z only, and batch norm uses the stored statistics as they are",
    ]


def _depth(blocks: list[dict[str, Any]]) -> int:
    """Blocks per resolution: widths change only in the last block of each."""
    depth = len(blocks)
    for number, block in enumerate(blocks):
        if any(inputs != outputs for inputs, outputs in block["channels"]):
            depth = math.gcd(depth, number + 1)
    return depth


def _block(state: StateDict, number: int) -> dict[str, Any]:
    channels, attention = [], False
    for part in range(_MOST_BLOCKS):
        prefix = f"blocks.{number}.{part}"
        if f"{prefix}.theta.weight" in state.tensors:
            attention = True
        elif f"{prefix}.conv1.weight" in state.tensors:
            last = "conv4" if f"{prefix}.conv4.weight" in state.tensors else "conv2"
            inputs = state.shape(f"{prefix}.conv1.weight")[1]
            channels.append([inputs, state.shape(f"{prefix}.{last}.weight")[0]])
        else:
            break
    return {"channels": channels, "attention": attention}


def _refuse(file: str, found: str) -> NoReturn:
    refuse(
        file, found, "settings and shapes are those of one BigGAN",
        "give the config.json that belongs to the weights, or a whole file",
    )  # fmt: skip
