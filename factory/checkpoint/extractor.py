"""Read semantic extractors that LinearGAN's authors released (`*_LSE.pth`), without executing anything.

Such a file is `{"arch": {n_class, dims, layers, lw_type, use_bias, type}, "param": tensors by name}`, in
either of torch's formats. It numbers the feature maps of its own generator program; which maps these are
is for the caller to find by `dims`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from factory.checkpoint.files.content import Content, open_content
from factory.checkpoint.pickles.nodes import TensorView
from factory.checkpoint.pickles.plain import plain
from factory.checkpoint.pickles.source import DISTRUST, refuse
from factory.checkpoint.pickles.tensors import torch_tensor
from factory.errors import WeightsError

_WEIGHTINGS = ("none", "softplus", "sigmoid")
_ALLOWED = "a linear extractor (type LSE) of LinearGAN is allowed"
_MOST_CLASSES, _MOST_LAYERS, _MOST_CHANNELS = 255, 256, 2**16


@dataclass(frozen=True, slots=True)
class Extractor:
    """A linear extractor as it is stored."""

    layers: tuple[int, ...]
    """Numbers of its feature maps in the program that it was trained with."""
    dims: tuple[int, ...]
    """Channels of each."""
    weighting: str
    """How `layer_numbers` become layer weights: `none`, `softplus` or `sigmoid`."""
    layer_numbers: Tensor
    """A number for each layer, float32; without meaning if `weighting` is `none`."""
    blocks: tuple[Tensor, ...]
    """Weights of each layer, classes by channels, float32."""
    biases: tuple[Tensor, ...]
    """Biases of each layer by class, float32; empty without."""


def read_extractor(path: Path) -> Extractor:
    """Read the file at `path`.

    Raises:
        WeightsError: If it is not a whole linear extractor, or asks for anything but data.
    """
    try:
        content = open_content(path)
        found = content.found
        if not isinstance(found, dict) or not isinstance(found.get("param"), dict):
            _refuse(path, "no extractor in it (`arch` and `param`)")
        if not isinstance(found.get("arch"), dict):
            _refuse(path, "no `arch`, which says what kind of extractor it is")
        return _read(path, content, plain(found["arch"], content.budget, "arch"), found["param"])
    except RecursionError as error:
        raise WeightsError(f"{path}: its parts are nested too deep; {DISTRUST}") from error


def _read(path: Path, content: Content, arch: dict[str, Any], param: dict[Any, Any]) -> Extractor:
    if arch.get("type") != "LSE":
        _refuse(path, f"an extractor of type {arch.get('type')!r}, which is not linear")
    weighting = arch.get("lw_type")
    if weighting not in _WEIGHTINGS:
        _refuse(path, f"layer weights {weighting!r}; known: {', '.join(_WEIGHTINGS)}")
    num_classes = _whole_numbers(path, "n_class", [arch.get("n_class")], _MOST_CLASSES)[0]
    dims = _whole_numbers(path, "dims", arch.get("dims"), _MOST_CHANNELS)
    layers = _whole_numbers(path, "layers", arch.get("layers"), _MOST_LAYERS)
    if num_classes < 2 or not dims or len(dims) != len(layers) or len(set(layers)) < len(layers):
        _refuse(path, f"{num_classes} classes, {len(dims)} dims and {len(layers)} layers")

    def take(name: str, *shape: int) -> Tensor:
        view = param.get(name)
        if not isinstance(view, TensorView) or tuple(view.size) != shape:
            seen = tuple(view.size) if isinstance(view, TensorView) else "none"
            _refuse(path, f"{name!r} of shape {seen}, where `arch` says {shape}")
        tensor = torch_tensor(view, content.budget).float()
        if not torch.isfinite(tensor).all():
            _refuse(path, f"{name!r} with numbers that are not finite")
        return tensor

    has_bias = any(str(name).endswith(".bias") for name in param)
    return Extractor(
        layers=tuple(layers),
        dims=tuple(dims),
        weighting=weighting,
        layer_numbers=take("layer_weight", len(layers)),
        blocks=tuple(
            take(f"extractor.{place}.weight", num_classes, width, 1, 1)[:, :, 0, 0]
            for place, width in enumerate(dims)
        ),
        biases=tuple(
            take(f"extractor.{place}.bias", num_classes)
            for place in range(len(dims) if has_bias else 0)
        ),
    )


def _whole_numbers(path: Path, name: str, value: object, most: int) -> list[int]:
    written = value if isinstance(value, list) and len(value) <= _MOST_LAYERS else [None]
    numbers = [n for n in written if type(n) is int and 0 <= n <= most]
    if len(numbers) < len(written):
        _refuse(path, f"`{name}` that is no list of numbers up to {most:,}")
    return numbers


def _refuse(path: Path, found: str) -> NoReturn:
    refuse(str(path), found, _ALLOWED, "get the file again, or paint pictures instead")
