"""Docstrings of fields are in schemas, and are read only for them."""

import subprocess
import sys

import pytest
from pydantic import Field

from factory.described import Described, field_docstrings
from factory.spec import JobSpec


class Inner(Described):
    """A part."""

    size: int = 1
    """Its size,
    in pixels."""


class Outer(Described):
    """The whole."""

    part: Inner = Inner()
    """One of them."""
    parts: list[Inner] = Field([])
    plain: int = Field(2, description="given")
    """Not this one."""


class Further(Outer):
    """A whole with more."""

    plain: int = 3
    """This one."""
    more: str = ""


def test_schemas_hold_the_docstrings_of_fields_nested_and_inherited():
    schema = Further.model_json_schema()
    assert schema["$defs"]["Inner"]["properties"]["size"]["description"] == "Its size,\nin pixels."
    found = {name: one.get("description") for name, one in schema["properties"].items()}
    assert found == {"part": "One of them.", "parts": None, "plain": "This one.", "more": None}
    assert Outer.model_json_schema()["properties"]["plain"]["description"] == "given"


def test_a_class_without_a_source_has_none():
    names = {"Described": Described}
    exec("class Typed(Described):\n    size: int = 1\n    '''Its size.'''\n", names)
    typed = names["Typed"]
    typed.__module__ = "nowhere"
    assert field_docstrings(typed) == {}
    assert typed.model_json_schema()["properties"]["size"]["default"] == 1


def test_no_source_is_read_before_that():
    code = (
        "import inspect, sys\n"
        "inspect.getsource = inspect.findsource = sys.exit\n"
        "import factory.dataset.status, factory.spec.read, factory.serve.queries\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["name", "dataset", "run", "output", "beside"])
def test_every_section_of_a_job_is_described(name):
    assert JobSpec.model_json_schema()["properties"][name]["description"]
