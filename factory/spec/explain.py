"""What a section of a job file may hold, for `factory explain`: settings, their values and defaults.

Everything is taken from the settings classes, as the JSON Schema of job files is.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from factory.described import field_docstrings
from factory.errors import JobError, did_you_mean
from factory.spec.check import by_kind, model_in
from factory.spec.generators import FAMILY_SETTINGS
from factory.spec.job import JobSpec
from factory.spec.methods import METHODS
from factory.spec.segmenters import settings_class, summarise

_SEGMENTER = "dataset.segmenter"
_FAMILY = "dataset.generator.settings"
_OPEN = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a section."""

    name: str
    """Its key."""
    values: str
    """What it may be, e.g. `integer >= 1`."""
    default: str
    """Its default as YAML, `required` if it has none, or empty for a section."""
    text: str
    """What it does."""
    has_more: bool
    """Whether it is a section, with settings of its own."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A section of a job file, or one setting."""

    path: str
    """Where it stands in a job, dotted."""
    text: str
    """What it is for."""
    settings: tuple[Setting, ...]
    """Its settings, in the order of the schema; of one setting, that one."""
    choices: Mapping[str, str]
    """What `kind` may be there, with a sentence each; empty where a section has one form."""


def explain(name: str = "") -> Explanation:
    """Explain the section, setting or method called `name`.

    Args:
        name: A dotted path in a job file, such as `dataset.latents`; a method or a generator family,
            such as `klish`; or one of its settings, such as `klish.cut`. Empty = the whole job.

    Raises:
        JobError: If nothing has that name.
    """
    model, path, rest = _root_of(name)
    keys, text = name.split("."), model.__doc__ or ""
    for position, key in enumerate(rest):
        asked = keys[: len(keys) - len(rest) + position]  # as the user wrote what was found so far
        field = model.model_fields.get(key)
        if field is None:
            raise _unknown(name, asked, model.model_fields)
        path = ".".join(filter(None, [path, key]))
        text = " ".join(field_docstrings(model).get(key, "").split())
        inner, is_last = model_in(field.annotation), position == len(rest) - 1
        if by_kind(field):
            if not is_last:
                raise _unknown(name, [*asked, key], METHODS)
            return Explanation(path, text, (), {kind: summarise(kind) for kind in METHODS})
        if inner is None:
            if not is_last:
                raise _unknown(name, asked, [key])
            (setting,) = (s for s in _settings_of(model) if s.name == key)
            return Explanation(path, text, (setting,), {})
        model = inner
    return Explanation(path, " ".join(text.split()), tuple(_settings_of(model)), {})


def _root_of(name: str) -> tuple[type[BaseModel], str, list[str]]:
    """The settings class that `name` begins with, its path in a job, and the keys that follow."""
    if not name:
        return JobSpec, "", []
    first, *rest = name.split(".")
    if first in METHODS:
        return settings_class(first), _SEGMENTER, rest
    if first in FAMILY_SETTINGS:
        return FAMILY_SETTINGS[first], _FAMILY, rest
    under = name.removeprefix(f"{_SEGMENTER}.")
    if under != name and under.split(".")[0] in METHODS:
        return _root_of(under)
    if first not in JobSpec.model_fields:
        raise _unknown(name, [], [*JobSpec.model_fields, *METHODS, *FAMILY_SETTINGS])
    return JobSpec, "", [first, *rest]


def _unknown(name: str, asked: list[str], known: Iterable[str]) -> JobError:
    paths = [".".join([*asked, key]) for key in known]
    return JobError(
        where="explain",
        found=f"nothing in a job is called {name!r}",
        allowed=f"known here: {', '.join(paths)}",
        remedy=did_you_mean(name, paths),
    )


def _settings_of(model: type[BaseModel]) -> Iterator[Setting]:
    schema = model.model_json_schema()
    parts = schema.get("$defs", {})
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        field = model.model_fields[name]
        is_section = model_in(field.annotation) is not None or by_kind(field) is not None
        yield Setting(
            name=name,
            values="section" if is_section else _values(one, parts),
            default="required" if name in required else _default(one, is_section=is_section),
            text=" ".join(one.get("description", "").split()),
            has_more=is_section,
        )


def _default(schema: Mapping[str, Any], *, is_section: bool) -> str:
    value = schema.get("default")
    if value is None:
        return "empty"
    return "" if is_section else json.dumps(value, ensure_ascii=False)


def _values(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """What a JSON Schema allows, in words."""
    if "$ref" in schema:
        return _values(parts[schema["$ref"].rpartition("/")[2]], parts)
    exact = [schema["const"]] if "const" in schema else schema.get("enum")
    if exact:
        return " or ".join(map(json.dumps, exact))
    some = schema.get("anyOf") or schema.get("oneOf")
    if some:
        each = dict.fromkeys(_values(one, parts) for one in some if one.get("type") != "null")
        return " or ".join(each)
    kind = schema.get("type", "anything")
    if kind in ("array", "object"):
        return _values_inside(schema, parts)
    bounds = [f"{sign} {schema[key]}" for key, sign in _OPEN.items() if key in schema]
    return " ".join([kind, *bounds])


def _values_inside(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The same of lists and mappings."""
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return f"mapping to {_values(values, parts)}" if isinstance(values, dict) else "mapping"
    pair = schema.get("prefixItems")
    if pair:
        return f"[{', '.join(_values(one, parts) for one in pair)}]"
    return f"list of {_values(schema.get('items', {}), parts)}"
