"""Read latent directions that the authors' program found (`latest.pth`), without executing anything.

Such a file is `{"state_dict": {"d": tensor}, "iteration": n, "cfg": settings}`. The settings are an
object of OmegaConf, of which only plain values are looked at: the sign of a loss tells light from dark.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from factory.checkpoint.files.content import open_content
from factory.checkpoint.pickles.nodes import OpaqueObject, TensorView
from factory.checkpoint.pickles.source import DISTRUST, refuse
from factory.checkpoint.pickles.tensors import torch_tensor
from factory.errors import WeightsError

_SIGN = ("losses", "outside_circle_loss")
_ALLOWED = "a direction of the latent-direction method's own program is allowed"
_MOST_ENTRIES = 2**24
_LEAST_LENGTH, _MOST_LENGTH = 1e-6, 1e6
"""Their program normalises a direction, to 1 or by the rows of W+."""


@dataclass(frozen=True, slots=True)
class StoredDirection:
    """A direction as it is stored."""

    direction: Tensor
    """Shape (z,), or (rows, w) of one in W+; float32, of length 1 over all entries."""
    length: float
    """Its length as it is stored, over all entries."""
    is_light: bool | None
    """Whether it makes the foreground lighter, else darker; None if the file does not say."""


def read_direction(path: Path) -> StoredDirection:
    """Read the file at `path`.

    Raises:
        WeightsError: If it holds no direction, or asks for anything but data.
    """
    try:
        content = open_content(path)
    except RecursionError as error:
        raise WeightsError(f"{path}: its parts are nested too deep; {DISTRUST}") from error
    found = content.found
    state = found.get("state_dict") if isinstance(found, dict) else None
    view = state.get("d") if isinstance(state, dict) else None
    if not isinstance(found, dict) or not isinstance(view, TensorView):
        _refuse(path, "no direction in it (`state_dict` with `d`)")
    shape = tuple(view.size)
    size = torch.Size(shape).numel()
    if len(shape) not in (2, 3) or shape[0] != 1 or not 0 < size <= _MOST_ENTRIES:
        _refuse(path, f"`d` of shape {shape}, where 1 x width or 1 x rows x width is stored")
    # In float64 no square of a float32 overflows or vanishes.
    direction = torch_tensor(view, content.budget).double()[0]
    length = float(direction.norm())
    if not _LEAST_LENGTH <= length <= _MOST_LENGTH:
        _refuse(path, f"a direction of length {length:g}")
    weight = _setting(found.get("cfg"), _SIGN)
    is_light = weight > 0 if weight else None
    return StoredDirection((direction / length).float(), length, is_light)


def _setting(node: object, names: tuple[str, ...]) -> int | float | None:
    """The number below `names` in OmegaConf's tree of nodes, or in plain dicts; None without one."""
    for name in names:
        node = _members(node).get(name)
    if isinstance(node, OpaqueObject) and isinstance(node.state, dict):
        node = node.state.get("_val")
    # Whole numbers of a pickle have any number of digits, and NaN has no sign.
    return node if isinstance(node, int | float) and node == node else None  # noqa: PLR0124


def _members(node: object) -> dict[Any, Any]:
    if isinstance(node, OpaqueObject) and isinstance(node.state, dict):
        node = node.state.get("_content")
    return node if isinstance(node, dict) else {}


def _refuse(path: Path, found: str) -> NoReturn:
    refuse(str(path), found, _ALLOWED, "get the file again, or leave it out to search here")
