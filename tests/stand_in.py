"""A stand-in for a GPU, for machines without one.

Tensors on the device `meta` have a shape and no numbers. Code that runs on them shows whether an
operation mixes tensors of two devices, which a GPU refuses and a CPU cannot: there they are all alike.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")

# Copying is what these are for; an index may lie on the CPU.
_MAY_MIX = ("aten::_to_copy", "aten::copy_")
_MAY_HAVE_CPU_INDEX = ("aten::index.Tensor", "aten::index_put_")


class TwoDevicesError(AssertionError):
    """An operation was given tensors of two devices."""


class _Watch(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.name()
        places = {
            t.device for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()
        }
        if name in _MAY_HAVE_CPU_INDEX and args[0].device == META:
            places = {META}
        if len(places) > 1 and name not in _MAY_MIX:
            raise TwoDevicesError(name)
        if META in places and (answer := _ANSWERS.get(name)):
            return answer(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return torch.ones(minlength, dtype=torch.int64, device=META)


def _index(x: Tensor, indices: list[Tensor | None]) -> Tensor:
    """A mask chooses everything: how much it chose could only be told by numbers."""
    first = next(index for index in indices if index is not None)
    if first.dtype == torch.bool:
        return x.new_zeros((first.numel(), *x.shape[first.dim() :]))
    return torch.ops.aten.index.Tensor(x, indices)


_ANSWERS: dict[str, Callable[..., Any]] = {
    "aten::bincount": _bincount,
    "aten::equal": lambda *_: True,
    "aten::_unique2": lambda x: (x.flatten(), x, torch.ones_like(x.flatten())),
    "aten::index.Tensor": _index,
    "aten::nonzero": lambda x: torch.zeros(x.numel(), x.dim(), dtype=torch.int64, device=META),
}


@contextmanager
def no_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While it lasts, tensors on `META` can be computed with; what asks for a number gets any.

    Raises:
        TwoDevicesError: From the operation that is given tensors of two devices.
    """
    to, tolist, one_hot, getitem = Tensor.to, Tensor.tolist, functional.one_hot, Tensor.__getitem__

    def to_any(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if x.device == META:
            wanted = {name: value for name, value in kwargs.items() if name != "copy"}
            device, dtype, *_ = torch._C._nn._parse_to(*args, **wanted)
            if device is not None and device.type == "cpu":
                return torch.randint(1, 3, x.shape).to(dtype or x.dtype)
        return to(x, *args, **kwargs)

    def number(kind: type) -> Callable[[Tensor], Any]:
        plain = getattr(Tensor, f"__{kind.__name__}__")
        return lambda x: kind(1) if x.device == META else plain(x)

    def item_of(x: Tensor, index: Any) -> Tensor:
        parts = index if isinstance(index, tuple) else (index,)
        numbers = (
            0 if isinstance(part, Tensor) and part.device == META and not part.dim() else part
            for part in parts
        )
        return getitem(x, tuple(numbers))

    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "to", to_any)
        patch.setattr(Tensor, "cpu", lambda x: x.to("cpu"))
        patch.setattr(Tensor, "__getitem__", item_of)
        for kind in (float, int, bool):
            patch.setattr(Tensor, f"__{kind.__name__}__", number(kind))
        patch.setattr(Tensor, "tolist", lambda x: tolist(x.to("cpu")))
        patch.setattr(
            functional,
            "one_hot",
            lambda x, n=-1: x.new_zeros((*x.shape, n)) if x.device == META else one_hot(x, n),
        )
        with _Watch():
            yield
