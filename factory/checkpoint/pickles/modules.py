"""The module tree of a pickled network: modules, their attributes, and tensors by state-dict name.

The traversal follows `_modules` only, is iterative, and visits each module once.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, NoReturn

from torch import Tensor

from factory.checkpoint.pickles.nodes import PersistentObject, PickledObject, PickledSet, TensorView
from factory.checkpoint.pickles.plain import plain
from factory.checkpoint.pickles.source import DISTRUST, Budget, refuse, shown
from factory.checkpoint.pickles.tensors import torch_tensor

_MOST_MODULES = 20_000
_LONGEST_PATH = 512


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a network."""

    class_name: str
    attributes: dict[Any, Any]
    """Its `__dict__`, as pickled."""
    budget: Budget
    path: str

    def get(self, name: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Attribute `name` as a plain value, or else the init argument of that name."""
        init = self.attributes.get("_init_kwargs")
        values = self.attributes if name in self.attributes else _items(init)
        return plain(values.get(name), self.budget, f"{self.path or 'the network'}.{name}")

    def has(self, name: str) -> bool:
        """Whether the module has an attribute or an init argument `name`."""
        return name in self.attributes or name in _items(self.attributes.get("_init_kwargs"))

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """The keyword arguments of its constructor."""
        items = _items(self.attributes.get("_init_kwargs"))
        where = f"{self.path or 'the network'}._init_kwargs"
        return {key: plain(value, self.budget, where) for key, value in items.items()}


@dataclass(slots=True)
class ModuleTree:
    """A complete network."""

    file: str
    modules: dict[str, Module] = field(default_factory=dict)
    """Modules by path; the network itself has the empty path."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Parameters and persistent buffers by state-dict name."""
    sources: set[str] = field(default_factory=set)
    """The distinct source texts that its modules carry."""

    @property
    def root(self) -> Module:
        """The network itself."""
        return self.modules[""]

    def module(self, path: str) -> Module:
        """The module at `path`.

        Raises:
            WeightsError: If there is none.
        """
        if path not in self.modules:
            refuse(
                self.file, f"the network has no module {path!r}", "it has those of its family",
                "it is another architecture; ask for support of this fork",
            )  # fmt: skip
        return self.modules[path]


def source_digest(root: PersistentObject) -> tuple[str, int]:
    """SHA-256 and length in bytes of the source text that `root` carries."""
    data = root.source.encode("utf-8")
    return hashlib.sha256(data).hexdigest(), len(data)


def walk_modules(root: PersistentObject, budget: Budget) -> ModuleTree:
    """Collect the modules and tensors of the network `root`.

    Raises:
        WeightsError: If a part of it is not interpreted, malformed, or named twice.
    """
    tree = ModuleTree(budget.file)
    waiting: list[tuple[str, object]] = [("", root)]
    seen: set[int] = set()
    while waiting:
        path, module = waiting.pop()
        budget.spend_steps(1, "the network")
        if not isinstance(module, PersistentObject | PickledObject) or not isinstance(
            module.state, dict
        ):
            found = str(module.token) if hasattr(module, "token") else type(module).__name__
            _refuse(budget, f"module {shown(path)} is {shown(found)}, which is not interpreted")
        if id(module) in seen or len(seen) >= _MOST_MODULES or len(path) > _LONGEST_PATH:
            _refuse(budget, f"module {shown(path)} occurs twice, or there are too many")
        seen.add(id(module))
        name = module.class_name if isinstance(module, PersistentObject) else module.token.name
        if isinstance(module, PersistentObject):
            tree.sources.add(module.source)
        tree.modules[path] = Module(name, module.state, budget, path)
        _take_tensors(tree, path, module.state, budget)
        children = _items(module.state.get("_modules"))
        for key, child in reversed(children.items()):
            if child is not None:
                waiting.append((_join(path, key, budget), child))
    return tree


def _take_tensors(tree: ModuleTree, path: str, state: dict[Any, Any], budget: Budget) -> None:
    skipped: set[Any] = set()
    unsaved = state.get("_non_persistent_buffers_set")
    if isinstance(unsaved, PickledSet):
        budget.spend_steps(len(unsaved.members), "the network")
        skipped = {member for member in unsaved.members if isinstance(member, str)}
    for kind in ("_parameters", "_buffers"):
        for key, value in _items(state.get(kind)).items():
            budget.spend_steps(1, "the network")
            name = _join(path, key, budget)
            if value is None or (kind == "_buffers" and key in skipped):
                continue
            if not isinstance(value, TensorView) or name in tree.tensors:
                _refuse(budget, f"tensor {shown(name)} is a {type(value).__name__}")
            tree.tensors[name] = torch_tensor(value, budget)


def _join(path: str, key: object, budget: Budget) -> str:
    if not isinstance(key, str) or not key or "." in key or len(key) > _LONGEST_PATH:
        _refuse(budget, f"a part of module {shown(path)} is named {shown(key)}")
    return f"{path}.{key}" if path else key


def _items(value: object) -> dict[Any, Any]:
    if isinstance(value, PickledObject):
        return value.items
    return value if isinstance(value, dict) else {}


def _refuse(budget: Budget, found: str) -> NoReturn:
    refuse(budget.file, found, "a network is a tree of known modules with tensors", DISTRUST)
