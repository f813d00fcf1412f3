import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from factory.errors import JobError, StoreError
from factory.manifest.versions import read_file_of


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int = 3
    text: str


@pytest.mark.parametrize("version", [1, 3])
def test_this_layout_and_older_ones_are_read(version):
    data = b'{"schema_version": %d, "text": "x"}' % version
    assert read_file_of(Note, data, source="note").text == "x"


@pytest.mark.parametrize("error", [StoreError, JobError])
@pytest.mark.parametrize(
    "data",
    [
        b'{"schema_version": 4, "text": "x"}',
        b'{"schema_version": 4, "text": "x", "new": 1}',
        b'{"schema_version": 4}',
    ],
)
def test_a_newer_layout_is_no_damage_whatever_it_holds(data, error):
    with pytest.raises(error) as caught:
        read_file_of(Note, data, source="note.json", error=error)
    assert type(caught.value) is error
    assert str(caught.value).startswith("note.json: written by a newer maskfactory (layout 4); ")
    assert str(caught.value).endswith("reads layouts up to 3; update it")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"schema_version": 3}',
        b'{"schema_version": "many", "text": "x"}',
        b'{"schema_version": 3, "text": "x", "more": 1}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_not_such_a_file_is_damage(data):
    with pytest.raises(ValidationError):
        read_file_of(Note, data, source="note")
