"""Convert pickled values to plain JSON values."""

import math
from typing import Any, NoReturn

from factory.checkpoint.pickles.nodes import Array, PickledObject
from factory.checkpoint.pickles.source import Budget, refuse
from factory.checkpoint.pickles.tensors import numpy_array

_DEEPEST = 16
_LONGEST_ARRAY_BYTES = 32768
_LONGEST_TEXT = 4096


def plain(value: object, budget: Budget, where: str, depth: int = 0) -> Any:  # noqa: ANN401 - JSON
    """Convert `value` to a JSON value: small arrays become lists, EasyDicts become dicts.

    Raises:
        WeightsError: If JSON cannot represent it, or it is too large for a setting.
    """
    budget.spend_steps(1, where)
    if depth > _DEEPEST:
        _refuse(f"{where} is nested deeper than {_DEEPEST} levels", budget)
    if isinstance(value, PickledObject):
        value = value.items or value.state
    elif isinstance(value, Array):
        value = _list_of(value, budget, where)
    if isinstance(value, list | tuple):
        return [plain(member, budget, where, depth + 1) for member in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {
            key: plain(member, budget, f"{where}.{key[:40]}", depth + 1)
            for key, member in value.items()
        }
    if not _is_simple(value):
        _refuse(f"{where} is a {type(value).__name__} that no setting can be", budget)
    return value


def _is_simple(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    return value is None or isinstance(value, bool | int)


def _list_of(array: Array, budget: Budget, where: str) -> object:
    if array.data is not None and array.data.stop - array.data.start > _LONGEST_ARRAY_BYTES:
        _refuse(f"{where} is an array of {array.shape}", budget)
    return numpy_array(array, budget, where).tolist()


def _refuse(found: str, budget: Budget) -> NoReturn:
    refuse(
        budget.file,
        found,
        "settings are numbers, texts, lists and dicts",
        "report this file's layout",
    )
