"""Pydantic's problems with a value that fits no member of a plain union, such as `"auto" | list[str]`.

It tells one for each member; a person made one mistake.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

_NAMES = ("int", "str", "float", "constrained-int", "constrained-str", "constrained-float")
_PREFIX = "Input should be "


def is_member(part: str | int) -> bool:
    """Whether a part of a pydantic location names a member of a plain union: no job file has it."""
    return isinstance(part, str) and ("[" in part or part in _NAMES)


def merge_members(problems: Iterable[Any]) -> list[Any]:
    """Make one problem of those that pydantic tells of one value for each member of a plain union.

    Where it looked into a member, as for one bad entry of a list, that is what was meant: the problems
    of the other members are left out.
    """
    merged = []
    for of_union, group in groupby(problems, key=_union):
        told = list(group)
        merged += _merged(told, len(of_union) + 1) if of_union else told
    return merged


def _union(problem: Any) -> tuple[str | int, ...]:  # noqa: ANN401 - pydantic's
    """The location of the outermost plain union that a problem is about; empty if it is about none."""
    members = [at for at, part in enumerate(problem["loc"]) if is_member(part)]
    return problem["loc"][: members[0]] if members else ()


def _merged(told: list[Any], member_at: int) -> list[Any]:
    inside = [problem for problem in told if len(problem["loc"]) > member_at]
    ours = [problem for problem in told if problem["type"] == "value_error"]
    if inside or ours or len(told) == 1:
        return inside or ours or told
    allowed = [problem["msg"].removeprefix(_PREFIX).partition(", ")[0] for problem in told]
    *first, last = dict.fromkeys(allowed)
    words = f"{', '.join(first)} or {last}" if first else last
    return [told[-1] | {"msg": f"{_PREFIX}{words}"}]
