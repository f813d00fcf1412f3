"""Named classes: the content of a labels file, and the checks that need no merge tree.

`segment/tree/labels_file.py` reads and writes the file and checks it against a tree.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from factory.spec.settings import IdentityFields, Settings

NodeId = Annotated[int, Field(ge=0)]

_NAME = re.compile(r"[\w()/+.-]+( [\w()/+.-]+)*")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def check_name(value: object) -> object:
    """Require that a class's name is words, for `BeforeValidator`; other types pass."""
    if isinstance(value, str) and (not _NAME.fullmatch(value) or value.isdecimal()):
        raise ValueError(
            "a name is words of letters, digits and _ - + . / ( ), with one space between them, and "
            "not only digits"
        )
    return value


def check_colour(value: object) -> object:
    """Require `#rrggbb`, for `BeforeValidator`; returns it in small letters."""
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise ValueError('write a colour as "#rrggbb", in quotes, because # begins a YAML comment')
    return value.lower()


class NamedLabel(Settings):
    """One named class."""

    identity_fields = IdentityFields(("name", "colour", "nodes"))

    name: Annotated[str, BeforeValidator(check_name), Field(max_length=64)]
    """Letters, digits and `_ - + . / ( )`, with single spaces between words; not a bare number."""
    colour: Annotated[str, BeforeValidator(check_colour)]
    """`"#rrggbb"`, for pictures only. Quotes are required: `#` begins a comment in YAML."""
    nodes: list[NodeId] = Field(min_length=1)
    """Nodes of the merge tree that make up the class; several are merged."""


class LabelsSpec(Settings):
    """Named classes: the content of a labels file, as `factory label` writes it."""

    identity_fields = IdentityFields(("tree", "labels"))

    tree: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of the merge tree: node ids mean nothing in another one."""
    labels: list[NamedLabel] = Field(min_length=2, max_length=255)
    """The classes. A class's position is its mask value; together they cover every cluster once."""

    @field_validator("labels")
    @classmethod
    def _names_differ(cls, labels: list[NamedLabel]) -> list[NamedLabel]:
        names = [label.name for label in labels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two classes are named {' and '.join(map(repr, twice))}")
        return labels
