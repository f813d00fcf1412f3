"""What every part of a job file is: frozen, and strict about its keys; and types that they share."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _check_class_keys(value: object) -> object:
    """Classes are whole numbers or names, each written once; in JSON all keys are text."""
    keys = list(value) if isinstance(value, (list, Mapping)) else []
    for key in keys:
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            raise ValueError(
                f"found {_written(key)}; a class is a whole number or a name: quote it"
            )
    written = [str(key) for key in keys] if isinstance(value, Mapping) else []
    twice = sorted({key for key in written if written.count(key) > 1})
    if twice:
        raise ValueError(f"class {twice[0]} is written twice, as a number and in quotes")
    return value


ClassKeys = BeforeValidator(_check_class_keys)
"""For lists of classes and mappings whose keys are classes."""


def _written(value: object) -> str:
    """A value as a job file has it."""
    if value is None:
        return "nothing"
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`"


def _takes_bool(annotation: object) -> bool:
    """Whether a setting of this type may hold true or false itself; parts of the job check their own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    if get_origin(annotation) is dict:
        return any(value in (bool, Any) for value in get_args(annotation))
    return annotation in (bool, Any, object) or any(map(_takes_bool, get_args(annotation)))


def _find_bool(value: object) -> bool | None:
    """The first true or false in a value, its lists, or under its keys; None if there is none."""
    if isinstance(value, bool):
        return value
    inner = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(inner, (list, tuple)):
        return None
    found = (_find_bool(one) for one in inner if not isinstance(one, Mapping))
    return next((one for one in found if one is not None), None)


class Settings(BaseModel):
    """A frozen part of the job file that refuses unknown keys, and `true` where a number belongs."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool(cls, value: object, info: Any) -> object:  # noqa: ANN401 - its type can't be checked
        found = _find_bool(value)
        if found is not None and not _takes_bool(cls.model_fields[info.field_name].annotation):
            raise ValueError(f"found {_written(found)}; quote it if it is a name, or give a number")
        return value
