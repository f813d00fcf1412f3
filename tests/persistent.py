"""Networks pickled as NVIDIA's persistence module does it, from a pickle that was read: for variants."""

import io
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from factory.checkpoint.files.torch_stream import load_storage
from factory.checkpoint.pickles.machine import Machine, Rules
from factory.checkpoint.pickles.modules import walk_modules
from factory.checkpoint.pickles.plain import plain
from factory.checkpoint.pickles.source import Budget, Stream
from factory.errors import WeightsError


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("this is only ever named in a pickle")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent:
    """An object that pickles itself as a class record."""

    def __init__(self, class_name: str, **attributes: Any) -> None:
        self.class_name, self.attributes = class_name, attributes
        self.parameters: dict[str, Any] = {}
        self.buffers: dict[str, Any] = {}
        self.modules: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Callable[..., None], tuple[dict[str, Any]]]:
        state = {"training": False, "_parameters": self.parameters, "_buffers": self.buffers,
                 "_non_persistent_buffers_set": set(), "_modules": self.modules,
                 **self.attributes}  # fmt: skip
        meta = {"type": "class", "version": 6, "module_src": "# a placeholder\n",
                "class_name": self.class_name, "state": state}  # fmt: skip
        return _reconstruct_persistent_obj, (meta,)

    def child(self, path: str) -> "Persistent":
        """The module at `path` below this one."""
        found = self
        for name in path.split("."):
            found = found.modules[name]
        return found


def load_network(path: Path) -> Persistent:
    """The averaged generator of a pickle, with its attributes as plain values."""
    data = path.read_bytes()
    budget = Budget(str(path), len(data) * 2)
    stream = Stream(memoryview(data), str(path))
    found, _ = Machine(stream, budget, Rules(load_storage=load_storage)).run()
    tree = walk_modules(found["G_ema"], budget)
    made: dict[str, Persistent] = {}
    for place, module in tree.modules.items():
        attributes = {}
        for key, value in module.attributes.items():
            if key in ("_parameters", "_buffers", "_modules") or "hook" in key:
                continue
            try:
                attributes[key] = plain(value, budget, key)
            except WeightsError:
                continue
        made[place] = Persistent(module.class_name, **attributes)
        if place:
            parent, _, name = place.rpartition(".")
            made[parent].modules[name] = made[place]
    for name, tensor in tree.tensors.items():
        place, _, key = name.rpartition(".")
        made[place].buffers[key] = tensor
    return made[""]


@contextmanager
def importable(module: str, **members: Any) -> Iterator[None]:
    """pickle insists on finding what it names; afterwards nobody can."""
    fakes = {}
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        fakes[".".join(parts[:count])] = ModuleType(".".join(parts[:count]))
    vars(fakes[module]).update(members)
    missing = {name: fake for name, fake in fakes.items() if name not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


class Stranger:
    """An object of a library that is not ours to know."""

    def __init__(self) -> None:
        self.depth = 12


Stranger.__module__ = "timm.models.vit"


@contextmanager
def stand_in_modules() -> Iterator[None]:
    """The modules that NVIDIA's programs have, as far as pickle must find them."""
    names = {"_reconstruct_persistent_obj": _reconstruct_persistent_obj}
    with (
        importable("torch_utils.persistence", **names),
        importable("timm.models.vit", Stranger=Stranger),
        torch.no_grad(),
    ):
        yield


def pickled(network: Persistent, protocol: int = 4, **beside: Any) -> bytes:
    """The bytes of a snapshot that holds `network` under G_ema."""
    buffer = io.BytesIO()
    with stand_in_modules():
        pickle.Pickler(buffer, protocol).dump({**beside, "G_ema": network})
    return buffer.getvalue()
