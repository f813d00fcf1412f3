"""DCGAN state dicts: the chain of convolutions from names and shapes, the rest from settings.

Source: Radford et al. 2016, "Unsupervised representation learning with deep convolutional generative
adversarial networks". Names are kept.
"""

from typing import Any, NoReturn

from factory.checkpoint.families.chain import Chain, Link, find_chain
from factory.checkpoint.families.settings import check_stated, width_warnings
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.pickles.source import refuse
from factory.errors import UnknownGeneratorError

_KERNEL = 4
_DEFAULTS = {
    "output_activation": "tanh",
    "hidden_activation": "relu",
    "bn_eps": 1e-5,
    "latent": "normal",
}
_OLD_NAMES = {"eps": "bn_eps", "final_activation": "output_activation"}
"""What files converted by earlier versions call these settings."""


def kwargs_of_dcgan(
    state: StateDict, given: dict[str, Any]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Settings of a DCGAN, the assumptions made, and warnings.

    Raises:
        UnknownGeneratorError: If strides and paddings are neither given nor usual.
        WeightsError: If the tensors are no such chain, or not the one that `given` describes.
    """
    chain = find_chain(state.shapes)
    if chain is None:
        refuse(
            state.file, "tensors that are no chain of convolutions from a latent to an image",
            "a DCGAN has nothing else", "wrap it in a generator plugin",
        )  # fmt: skip
    assumptions: list[str] = []
    layers = _layers(state.file, chain, given.get("layers"), assumptions)
    classes = given.get("classes") or 0
    inputs = chain[0].in_channels
    if not 0 <= classes < inputs:
        _refuse(state.file, f"classes {classes} with {inputs} inputs of the first layer")
    kwargs: dict[str, Any] = {
        "z_dim": inputs - classes,
        "classes": classes,
        "img_channels": chain[-1].out_channels,
        "img_resolution": _resolution(layers),
        **{key: given.get(key, value) for key, value in _DEFAULTS.items()},
        "layers": layers,
    }
    check_stated(
        state.file, given, {key: kwargs[key] for key in ("img_channels", "img_resolution")}
    )
    unsaid = [f"{key} {kwargs[key]}" for key in _DEFAULTS if key not in given]
    if unsaid:
        assumptions.insert(0, f"{', '.join(unsaid)}: a state dict does not say")
    return kwargs, assumptions, width_warnings(inputs - classes, "classes")


def renamed(given: dict[str, Any]) -> dict[str, Any]:
    """Settings by their present names."""
    return {_OLD_NAMES.get(key, key): value for key, value in given.items()}


def _layers(
    file: str, chain: Chain, given: list[dict[str, Any]] | None, assumptions: list[str]
) -> list[dict[str, Any]]:
    layers = [_described(link) for link in chain]
    if given and all(layer.get("stride") for layer in given):
        names = [layer["name"] for layer in given]
        known = {layer["name"]: layer for layer in layers}
        if sorted(names) != sorted(known):
            _refuse(file, f"settings of the layers {', '.join(names)} for {', '.join(known)}")
        return [known[layer["name"]] | _stated(layer) for layer in given]
    if all(link.transposed and link.kernel == _KERNEL for link in chain):
        for number, layer in enumerate(layers):
            layer["stride"], layer["padding"] = (2, 1) if number else (1, 0)
        assumptions.append("the first layer has stride 1 and no padding, the others 2 and 1")
        return layers
    raise UnknownGeneratorError(
        f"{file}: a chain of {len(chain)} convolutions with kernels of "
        f"{', '.join(str(link.kernel) for link in chain)} taps; the usual DCGAN has 4 everywhere, and "
        "strides and paddings are not in a file; state those of each layer as the setting `layers`"
    )


def _described(link: Link) -> dict[str, Any]:
    return {
        "name": link.name,
        "kind": "conv_transpose" if link.transposed else "conv",
        "in_channels": link.in_channels,
        "out_channels": link.out_channels,
        "kernel": link.kernel,
        "norm": link.norm,
    }


def _stated(layer: dict[str, Any]) -> dict[str, Any]:
    return {key: layer[key] for key in ("kind", "stride", "padding") if key in layer}


def _resolution(layers: list[dict[str, Any]]) -> int:
    side = 1
    for layer in layers:
        kernel, stride, padding = layer["kernel"], layer["stride"], layer["padding"]
        if layer["kind"] == "conv_transpose":
            side = (side - 1) * stride + kernel - 2 * padding
        else:
            side = (side + 2 * padding - kernel) // stride + 1
    return side


def _refuse(file: str, found: str) -> NoReturn:
    refuse(
        file, found, "settings and tensors are those of one DCGAN",
        "give the settings that belong to these weights",
    )  # fmt: skip
