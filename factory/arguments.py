"""Check the arguments of public functions: a value of another kind is a `JobError` of one line.

Only kinds are checked here, by the annotations; ranges are the function's own matter.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from inspect import Parameter, signature
from operator import index
from pathlib import Path
from reprlib import repr as short_repr
from typing import (
    Any,
    ParamSpec,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from factory.errors import JobError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Annotation: TypeAlias = (
    Any  # `int`, `str | None`, `Sequence[str]`: Python has no common type for them
)

_WORDS: Mapping[Annotation, str] = types.MappingProxyType(
    {
        None: "None",
        types.NoneType: "None",
        bool: "True or False",
        int: "a whole number",
        SupportsIndex: "a whole number",
        str: "a string",
        Path: "a path",
        slice: "a slice",
        Callable: "a function",
    }
)


def check_arguments(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Refuse arguments of other kinds than the annotations of `function` say.

    `True` is no whole number; whole numbers of other libraries, such as NumPy's, become Python's. A
    missing or unknown argument is a `TypeError`, as in any function.

    Raises:
        JobError: At a call with such an argument: its name, what was found, and what is allowed.
    """
    known = signature(function)
    unusable = [p.name for p in known.parameters.values() if isinstance(p.annotation, str)]
    assert not unusable, f"annotations in quotes cannot be checked: {unusable}"

    @wraps(function)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            bound = known.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own message names the function
        for name, value in bound.arguments.items():
            annotation = known.parameters[name].annotation
            if annotation is not Parameter.empty:  # as that of `self`
                bound.arguments[name] = _converted(name, value, annotation)
        return function(*bound.args, **bound.kwargs)

    return checked


def _converted(name: str, value: object, annotation: Annotation) -> object:
    try:
        return _match(value, annotation)
    except TypeError as error:
        raise JobError(
            where=name, found=f"found {_shown(value)}", allowed=_in_words(annotation)
        ) from error


def _match(value: object, annotation: Annotation) -> object:
    """`value` as the annotation has it.

    Raises:
        TypeError: If it is of another kind.
    """
    origin: Annotation = get_origin(annotation) or annotation
    if origin in (Union, types.UnionType):
        return _first_match(value, get_args(annotation))
    if origin in (int, SupportsIndex) and not isinstance(value, bool):
        return index(value)  # type: ignore[arg-type] # anything else is the TypeError we want
    if origin is Any:
        return value
    kind = types.NoneType if origin is None else origin
    if origin in (int, SupportsIndex) or not isinstance(value, kind):
        raise TypeError
    if origin in (Sequence, Mapping) and isinstance(value, (Sequence, Mapping)):
        if isinstance(value, (str, bytes)):
            raise TypeError
        inside = [_match(one, get_args(annotation)[0]) for one in value]
        return inside if origin is Sequence else value
    return value


def _first_match(value: object, members: Sequence[Annotation]) -> object:
    for member in members:
        with suppress(TypeError):
            return _match(value, member)
    raise TypeError


def _in_words(annotation: Annotation) -> str:
    origin: Annotation = get_origin(annotation) or annotation
    if origin in (Union, types.UnionType):
        *first, last = dict.fromkeys(map(_in_words, get_args(annotation)))
        return f"{', '.join(first)} or {last}" if first else last
    if origin in (Sequence, Mapping):
        inside = _in_words(get_args(annotation)[0]).removeprefix("a ")
        return f"a list of {inside}s" if origin is Sequence else f"a mapping with {inside}s as keys"
    if origin in _WORDS:
        return _WORDS[origin]
    if hasattr(origin, "dim_str"):  # jaxtyping's
        return f"an array of {origin.dtypes[0]} ({origin.dim_str})"
    if origin.__module__.startswith("factory.spec"):
        return f"a {origin.__name__}"
    return f"an object like {origin.__module__.partition('.')[0]}'s {origin.__name__}"


def _shown(value: object) -> str:
    """`repr(value)`, cut short; its type if even that fails."""
    try:
        return short_repr(value)
    except Exception:  # noqa: BLE001 - a stranger's `__repr__` can raise anything
        return f"an object of type {type(value).__name__}"
