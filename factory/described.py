"""Models whose fields are described by the docstrings below them, read when they are asked for.

Pydantic can do the same (`use_attribute_docstrings`), and reads the source of each class when it is
defined: for `factory status` and its like an eighth of their time, for texts that they never show.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Described(BaseModel):
    """Base class of models whose JSON Schema holds the docstrings of their fields."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema as pydantic makes it, with the descriptions."""
        found = handler(core_schema)
        properties: dict[str, Any] = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in field_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return found


@cache
def field_docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """The docstrings of a model's fields, by name, inherited ones too; none without its source."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base.__module__.partition(".")[0] != "pydantic":
            found |= _read_docstrings(base)
    return {name: found[name] for name in model.model_fields if name in found}


def _read_docstrings(model: type[BaseModel]) -> dict[str, str]:
    try:
        source = inspect.getsource(model)
    except (OSError, TypeError):  # it was typed into an interpreter
        return {}
    statements = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(statements, ast.ClassDef)  # that is what was asked for
    found = {}
    for field, below in zip(statements.body, statements.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            text = below.value.value
            if isinstance(text, str):
                found[field.target.id] = inspect.cleandoc(text)
    return found
