"""Extract the generator's flat state dict from the content of a torch.save file."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from factory.checkpoint.pickles.nodes import TensorView
from factory.checkpoint.pickles.source import Budget, refuse, shown
from factory.checkpoint.pickles.tensors import torch_tensor

_AVERAGED = (
    "g_ema", "G_ema", "netG_ema", "generator_smooth", "generator_ema", "params_ema", "ema",
)  # fmt: skip
_TRAINED = (
    "models", "generator", "netG_state_dict", "G_state_dict", "generator_state_dict", "state_dict",
    "model_state_dict", "netG", "g", "G", "params", "model", "gan",
)  # fmt: skip
_WRAPPERS = ("module.", "_orig_mod.", "generator.")
_ROLES = ("g_ema.", "G_ema.", "generator_smooth.", "netG.")
_DEEPEST = 4
_LONGEST_NAME = 512


@dataclass(slots=True)
class StateDict:
    """Tensors of one generator, by the names of its own program."""

    file: str
    tensors: dict[str, Tensor]
    """Tensors by name, without the prefixes of wrappers."""
    route: tuple[str, ...] = ()
    """Path of keys to it in the file, e.g. `g_ema`."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Tensors stored beside the state dict, such as `latent_avg`."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of tensor `name`.

        Raises:
            WeightsError: If there is no such tensor.
        """
        if name not in self.tensors:
            refuse(self.file, f"tensor {name!r} is missing", "a network has all its tensors",
                   "get a whole file")  # fmt: skip
        return tuple(self.tensors[name].shape)

    def count(self, form: str) -> int:
        """Number of consecutive names `form.format(0)`, `form.format(1)`, ... that exist."""
        number = 0
        while form.format(number) in self.tensors:
            number += 1
        return number


def unwrap(found: object, budget: Budget) -> StateDict:
    """Find the generator's state dict in the content of a file; EMA weights are preferred.

    Raises:
        WeightsError: If there is none.
    """
    route: list[str] = []
    extras: dict[str, Tensor] = {}
    while isinstance(found, dict) and len(route) < _DEEPEST:
        beside = found.get("latent_avg")
        if isinstance(beside, TensorView):
            extras["latent_avg"] = torch_tensor(beside, budget)
        known = (*_AVERAGED, *_TRAINED)
        key = next((name for name in known if _is_filled_dict(found.get(name))), None)
        if key is None:
            break
        route.append(key)
        found = found[key]
    if not isinstance(found, dict) or not any(map(_is_tensor, found.values())):
        keys = [shown(key, 20) for key in list(found)[:8]] if isinstance(found, dict) else []
        what = f"a dict of {', '.join(keys)}" if keys else f"a {type(found).__name__}"
        refuse(
            budget.file, f"no generator was found in {what}",
            f"a state dict, or one under {', '.join((*_AVERAGED, *_TRAINED)[:9])}, ... is allowed",
            "save the generator's state_dict() alone",
        )  # fmt: skip
    views = without_prefixes({key: value for key, value in found.items() if _is_tensor(value)})
    tensors: dict[str, Tensor] = {}
    for name, view in views.items():
        tensors[name] = torch_tensor(view, budget)
    return StateDict(budget.file, tensors, tuple(route), extras)


def _is_filled_dict(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _is_tensor(value: object) -> bool:
    return isinstance(value, TensorView)


def without_prefixes(views: dict[Any, Any]) -> dict[str, Any]:
    """Remove the prefixes that wrappers put before all names, or before the generator's."""
    named = {key: view for key, view in views.items()
             if isinstance(key, str) and len(key) <= _LONGEST_NAME}  # fmt: skip
    for _ in range(_DEEPEST):
        for prefix in (*_WRAPPERS, *_ROLES):
            inner = {name.removeprefix(prefix): view for name, view in named.items()
                     if name.startswith(prefix)}  # fmt: skip
            if inner and (prefix in _ROLES or len(inner) == len(named)):
                named = inner
                break
        else:
            break
    return named
