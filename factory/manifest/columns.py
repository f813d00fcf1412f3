"""Map pydantic models to rows of Parquet tables: one column per field, one rule per type.

int, float, str      int64, double, string; another width is written `Annotated[int, pa.int32()]`
list[x]              list of x, in its order
dict[x, y]           map from x to y, sorted by key
a model, or none     its JSON as a string, "" for none: its keys differ from row to row
"""

import json
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLAIN = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def schema_of(*kinds: type[BaseModel]) -> pa.Schema:
    """Make the Arrow schema of `kinds`: a column per field, in order; fields of equal names share one.

    Raises:
        TypeError: If there is no rule for a field's type.
    """
    fields = {name: field for kind in reversed(kinds) for name, field in kind.model_fields.items()}
    names = dict.fromkeys(name for kind in kinds for name in kind.model_fields)
    return pa.schema([(name, _column_of(fields[name])) for name in names])


def row_of(model: BaseModel) -> dict[str, Any]:
    """Convert a model to a row: the values of its columns."""
    row = model.model_dump(mode="json")
    as_json, as_map = _converted(type(model))
    for name in as_json:
        row[name] = json.dumps(row[name]) if row[name] else ""
    for name in as_map:
        row[name] = sorted(row[name].items())
    return row


def facts_of(row: dict[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """Convert a row back to the values of a model of `kind`, without validation.

    Rows of older versions may lack fields that have a default.

    Raises:
        KeyError: If a map is missing.
        ValueError: If a column does not hold the JSON or the map that it should.
    """
    as_json, as_map = _converted(kind)
    facts = dict(row)
    try:
        facts |= {name: json.loads(row.get(name) or "null") for name in as_json}
        facts |= {name: dict(row[name]) for name in as_map}
    except (TypeError, RecursionError) as error:  # a table of anybody's: null, numbers, deep JSON
        raise ValueError("a column of another type") from error
    return facts


def _column_of(field: FieldInfo) -> pa.DataType:
    given = [part for part in field.metadata if isinstance(part, pa.DataType)]
    if given:
        return given[0]
    return pa.string() if _is_json(field) else _type_of(field.annotation)


def _type_of(annotation: object) -> pa.DataType:
    if get_origin(annotation) is Annotated:  # limits of values have no counterpart in Arrow
        return _type_of(get_args(annotation)[0])
    parts = [_type_of(part) for part in get_args(annotation)]
    match get_origin(annotation):
        case None if isinstance(annotation, type) and annotation in _PLAIN:
            return _PLAIN[annotation]
        case origin if origin is list:
            return pa.list_(*parts)
        case origin if origin is dict:
            return pa.map_(*parts)
    raise TypeError(f"{annotation}: no column for this type; add a rule to columns.py")


@cache
def _converted(kind: type[BaseModel]) -> tuple[list[str], list[str]]:
    """Names of the fields that are stored as JSON, and of those stored as maps."""
    fields = kind.model_fields.items()
    as_json = [name for name, field in fields if _is_json(field)]
    as_map = [name for name, field in fields if get_origin(field.annotation) is dict]
    return as_json, as_map


def _is_json(field: FieldInfo) -> bool:
    """Whether a field holds a model, or a model or None."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)
