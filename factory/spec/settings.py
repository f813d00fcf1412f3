"""What every part of a job file is: frozen, and strict about its keys; and types that they share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
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


def _number_or_name(value: object) -> object:
    """JSON knows keys as text only."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


ClassKey = Annotated[int | str, BeforeValidator(_number_or_name)]
"""A class by its mask value or its name."""


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


@dataclass(frozen=True, slots=True)
class IdentityFields:
    """Which settings of a class are part of a dataset's identity, and so of its id and its bytes.

    The identity of a dataset that exists must never change, or it could neither be resumed nor grown.
    So the settings of the first version are listed, and what came or went since enters only where it
    makes a difference. Values are given as JSON has them.
    """

    first: tuple[str, ...]
    """Settings that the class had when the first dataset was made with it: always part."""
    later: Mapping[str, Any] = field(default_factory=dict)
    """Settings added since, each with its first default, which must mean what was done before there
    was the setting: part only with another value."""
    gone: Mapping[str, Any] = field(default_factory=dict)
    """Settings removed since, each with the value that is built in now: part for ever."""
    left_out: tuple[str, ...] = ()
    """Settings that change no byte of a sample, or say where something lies."""

    def find_problem(self, names: Iterable[str]) -> str:
        """What is wrong with the list of a class with the settings `names`; empty if nothing is."""
        listed = [*self.first, *self.later, *self.left_out]
        if forgotten := [name for name in names if name not in listed]:
            return (
                f"the new setting {forgotten[0]!r} is not in `identity_fields`: put it into `later` "
                "with the value that means what was done before, or into `left_out` if it changes no "
                "byte; in `first` it would make every existing dataset another one"
            )
        if removed := [name for name in listed if name not in names]:
            return (
                f"`identity_fields` lists {removed[0]!r}, which is no setting any more: move it to "
                "`gone` with the value that is built in now"
            )
        if twice := {name for name in listed if listed.count(name) > 1 or name in self.gone}:
            return f"`identity_fields` lists {min(twice)!r} twice: leave one out"
        return ""


class Settings(BaseModel):
    """A frozen part of the job file that refuses unknown keys, and `true` where a number belongs."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    identity_fields: ClassVar[IdentityFields | None] = None
    """Which of its settings are part of a dataset's identity; without a list all of them are, as in
    the class of a plugin."""
    identity_later: ClassVar[Mapping[str, Any]] = {}
    """As `IdentityFields.later`, for what a base class has brought to all that derive from it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's signature
        """Refuse a class whose list does not know its settings: nobody may forget it.

        Raises:
            TypeError: If a setting is not listed, or a listed one is none.
        """
        super().__pydantic_init_subclass__(**kwargs)
        names = [name for name in cls.model_fields if name not in cls.identity_later]
        problem = cls.identity_fields.find_problem(names) if cls.identity_fields else ""
        if problem:
            raise TypeError(f"{cls.__module__}.{cls.__qualname__}: {problem}")

    @model_validator(mode="before")
    @classmethod
    def _take_gone(cls, value: Any) -> Any:  # noqa: ANN401 - its type is not checked yet
        """Take a removed setting at the value that is built in now; any other is an unknown key.

        The job that is kept beside a dataset may have it.
        """
        gone = cls.identity_fields.gone if cls.identity_fields else {}
        if not isinstance(value, Mapping) or gone.keys().isdisjoint(value):
            return value
        return {k: v for k, v in value.items() if k not in gone or not _is_same(v, gone[k])}

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool(cls, value: object, info: Any) -> object:  # noqa: ANN401 - its type can't be checked
        found = _find_bool(value)
        if found is not None and not _takes_bool(cls.model_fields[info.field_name].annotation):
            raise ValueError(f"found {_written(found)}; quote it if it is a name, or give a number")
        return value


def _is_same(one: object, other: object) -> bool:
    """Whether two values of a job file are equal; true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
