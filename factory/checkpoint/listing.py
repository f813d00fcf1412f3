"""Every tensor of a file by name, whatever network it belongs to: for generator plugins."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from factory.checkpoint.families.containers import (
    Leaf,
    dtype_of,
    find_containers,
    shape_of,
    tensor_of,
)
from factory.checkpoint.families.tensorflow import is_tensorflow, variables_of
from factory.checkpoint.files.content import Content, open_content
from factory.checkpoint.finite import check_finite
from factory.checkpoint.pickles.modules import walk_modules
from factory.errors import WeightsError


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One tensor of a file."""

    name: str
    """The keys that lead to it, joined by dots."""
    dtype: str
    """Its element type, such as `float32`."""
    shape: tuple[int, ...]


def list_tensors(path: Path) -> list[TensorFacts]:
    """Name, type and shape of every tensor in a weights file of any format, in the file's order.

    Raises:
        WeightsError: If it is not a whole file of a supported format.
    """
    content = open_content(path)
    return [
        TensorFacts(name, dtype_of(leaf), shape_of(leaf)) for name, leaf in _leaves(content).items()
    ]


def read_tensors(path: Path, under: str = "") -> dict[str, Tensor]:
    """The tensors of a weights file of any format, by name. Nothing in it is executed or imported.

    Args:
        path: The file.
        under: Take only names that begin so, and remove it from them: `state_dict.generator.`.

    Raises:
        WeightsError: If the file is not whole, none of its names begins so, or a tensor holds numbers
            that are not finite.
    """
    content = open_content(path)
    wanted = {
        name[len(under) :]: leaf
        for name, leaf in _leaves(content).items()
        if name.startswith(under)
    }
    if not wanted:
        raise WeightsError(
            f"{path}: no tensor has a name that begins with {under!r}; `factory inspect` lists them"
        )
    tensors = {name: tensor_of(leaf, content.budget) for name, leaf in wanted.items()}
    check_finite(str(path), tensors)
    return tensors


def _leaves(content: Content) -> dict[str, Leaf]:
    if content.tensors is not None:
        return dict(content.tensors)
    if is_tensorflow(content.found) and isinstance(content.found, tuple):
        return dict(variables_of(content.found, content.budget))
    containers = find_containers(content.found, content.budget)
    found: dict[str, Leaf] = {}
    for group in containers.groups:
        found |= {".".join((*group.route, name)): leaf for name, leaf in group.leaves.items()}
    if not found:
        for route, network in containers.networks:
            tensors = walk_modules(network, content.budget).tensors
            found |= {".".join((*route, name)): tensor for name, tensor in tensors.items()}
    return found
