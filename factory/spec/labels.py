"""Named classes: the content of a labels file, and the checks that need no merge tree.

`segment/tree/labels_file.py` reads and writes the file and checks it against a tree.
"""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

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


# The length inside the other rule: outside of it pydantic counts "items", and not characters.
ClassName = Annotated[str, Field(max_length=64), BeforeValidator(check_name)]
"""Letters, digits and `_ - + . / ( )`, with single spaces between words; not a bare number."""


def _check_time(value: str) -> str:
    datetime.fromisoformat(value)
    return value


class NamedLabel(Settings):
    """One named class."""

    identity_fields = IdentityFields(("name", "colour", "nodes"))

    name: ClassName
    """Letters, digits and `_ - + . / ( )`, with single spaces between words; not a bare number."""
    colour: Annotated[str, BeforeValidator(check_colour)]
    """`"#rrggbb"`, for pictures only. Quotes are required: `#` begins a comment in YAML."""
    nodes: list[NodeId] = Field(min_length=1)
    """Nodes of the merge tree that make up the class; several are merged."""


class Verdict(Settings):
    """A verdict on the name of one node."""

    identity_fields = IdentityFields((), left_out=("node", "given", "verdict", "proposed"))

    node: NodeId
    """The node of the merge tree."""
    given: ClassName
    """The name that it had."""
    verdict: Literal["confirmed", "disputed", "kept"]
    """`disputed`: it is something else. `kept`: whoever names has looked at disputes about it, and
    keeps the name."""
    proposed: ClassName | None = None
    """What it is instead, if disputed."""

    @model_validator(mode="after")
    def _proposes_what_it_disputes(self) -> "Verdict":
        if (self.proposed is not None) != (self.verdict == "disputed"):
            raise ValueError("a disputed name has a proposed one, and no other verdict has one")
        if self.proposed == self.given:
            raise ValueError(f"{self.given!r} is disputed, and proposed: give another name")
        return self


class Review(Verdict):
    """A verdict with who gave it, and when: somebody who went over names that another had given."""

    identity_fields = IdentityFields(
        (), left_out=("node", "given", "verdict", "proposed", "who", "when")
    )

    who: ClassName
    """Who says so: a person, or what a model is called."""
    when: Annotated[str, AfterValidator(_check_time)]
    """UTC time, ISO 8601."""


class LabelsSpec(Settings):
    """Named classes: the content of a labels file, as `factory label` writes it."""

    identity_fields = IdentityFields(("tree", "labels"), left_out=("reviews",))

    tree: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of the merge tree: node ids mean nothing in another one."""
    labels: list[NamedLabel] = Field(min_length=2, max_length=255)
    """The classes. A class's position is its mask value; together they cover every cluster once."""
    reviews: list[Review] = Field([], max_length=2**14)
    """What reviewers said about the names, in order (`factory label --review`)."""

    @field_validator("labels")
    @classmethod
    def _names_differ(cls, labels: list[NamedLabel]) -> list[NamedLabel]:
        names = [label.name for label in labels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two classes are named {' and '.join(map(repr, twice))}")
        return labels

    def find_disputes(self) -> list[Review]:
        """Disputes that nobody has settled: the node still has the name, and nobody kept it since.

        Of one reviewer's verdicts on a name of a node, the latest counts.
        """
        names = {node: label.name for label in self.labels for node in label.nodes}
        open_: dict[tuple[str, int], Review] = {}
        for review in self.reviews:
            if names.get(review.node) != review.given:
                continue
            if review.verdict == "kept":
                open_ = {key: kept for key, kept in open_.items() if key[1] != review.node}
            elif review.verdict == "disputed":
                open_[review.who, review.node] = review
            else:
                open_.pop((review.who, review.node), None)
        return sorted(open_.values(), key=lambda review: (review.node, review.who))
