"""List what a file contains: groups of tensors, and networks pickled whole.

Programs put a generator's state dict into dicts of their own: beside a discriminator, optimisers and
settings, and often twice, as trained and as averaged (EMA). This walk lists all of them; which is
the generator is decided elsewhere.
"""

from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from factory.checkpoint.pickles.nodes import Array, PersistentObject, PickledObject, TensorView
from factory.checkpoint.pickles.source import Budget
from factory.checkpoint.pickles.tensors import numpy_tensor, torch_tensor

Leaf = TensorView | Array | Tensor
"""A tensor as the file describes it, or already copied out of it."""

Route = tuple[str, ...]
"""The keys that lead to something in a file, such as `("models", "generator_smooth")`."""

_DEEPEST = 5
_LONGEST_NAME = 512
_FEWEST_UNNAMED = 4
_LONGEST_LIST = 10_000
"""Longer lists are records of a training, such as its losses; weights are not looked for in them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors in one dict of the file, by name."""

    route: Route
    leaves: dict[str, Leaf]


@dataclass(slots=True)
class Containers:
    """Everything in a file that a generator may be read from."""

    keys: list[str] = field(default_factory=list)
    """The outermost keys."""
    groups: list[Group] = field(default_factory=list)
    """Every dict with tensors, outer ones first."""
    networks: list[tuple[Route, PersistentObject]] = field(default_factory=list)
    """Networks whose classes came with the file (NVIDIA's)."""
    unnamed: list[Route] = field(default_factory=list)
    """Lists of tensors: weights whose names are not in the file."""

    def beside(self, route: Route, name: str) -> Leaf | None:
        """The tensor `name` of the dict at `route`, or of one around it; the nearest counts."""
        around = [group for group in self.groups if group.route == route[: len(group.route)]]
        found = (group.leaves.get(name) for group in reversed(around))
        return next((leaf for leaf in found if leaf is not None), None)


def find_containers(found: object, budget: Budget) -> Containers:
    """List the groups of tensors and the networks inside the content of a file.

    Raises:
        WeightsError: If it repeats its parts so often that the limit of steps is reached.
    """
    containers = Containers()
    if isinstance(found, dict):
        containers.keys = [str(key)[:80] for key in list(found)[:20]]
    seen: set[int] = set()
    waiting: deque[tuple[Route, object]] = deque([((), found)])
    while waiting:
        route, value = waiting.popleft()
        budget.spend_steps(1, "the content")
        if isinstance(value, PersistentObject):
            containers.networks.append((route, value))
        children = _children(value)
        if not children or id(value) in seen or len(route) > _DEEPEST:
            continue
        seen.add(id(value))
        budget.spend_steps(len(children), "the content")
        if isinstance(value, dict):
            leaves = {
                key: leaf
                for key, leaf in value.items()
                if isinstance(key, str) and len(key) <= _LONGEST_NAME and isinstance(leaf, Leaf)
            }
            if leaves:
                containers.groups.append(Group(route, leaves))
        elif sum(isinstance(child, TensorView) for _, child in children) >= _FEWEST_UNNAMED:
            containers.unnamed.append(route)
        waiting += [((*route, str(key)), child) for key, child in children if _is_inner(child)]
    return containers


def _children(value: object) -> list[tuple[object, object]]:
    if isinstance(value, PickledObject):
        value = value.items or value.state
    if isinstance(value, dict):
        return list(value.items())
    is_short = isinstance(value, list | tuple) and len(value) <= _LONGEST_LIST
    return list(enumerate(value)) if is_short else []  # type: ignore[arg-type]


def _is_inner(value: object) -> bool:
    return isinstance(value, dict | list | tuple | PersistentObject | PickledObject)


def tensor_of(leaf: Leaf, budget: Budget) -> Tensor:
    """Copy a tensor out of the file.

    Raises:
        WeightsError: If it has no bytes, or is of a type that no generator has.
    """
    if isinstance(leaf, TensorView):
        return torch_tensor(leaf, budget)
    return numpy_tensor(leaf, budget, "an array") if isinstance(leaf, Array) else leaf


def shape_of(leaf: Leaf) -> tuple[int, ...]:
    """The shape of a tensor, known without copying it."""
    return tuple(leaf.size) if isinstance(leaf, TensorView) else tuple(leaf.shape)


def dtype_of(leaf: Leaf) -> str:
    """The element type of a tensor, such as `float32`."""
    if isinstance(leaf, Array):
        return "unknown" if leaf.dtype is None else leaf.dtype.numpy().name
    return str(leaf.dtype).removeprefix("torch.")
