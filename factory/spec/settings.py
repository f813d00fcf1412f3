"""The base class of all settings: frozen, unknown keys refused; and field types that they share."""

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

from factory.described import Described

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class IsInputPath:
    """Marks a setting that names a file or folder to be read: see `anchor.py`."""


InputPath = Annotated[str, Field(min_length=1), IsInputPath()]
"""The path of a file or folder to be read, relative to the job's file."""


def _check_class_keys(value: object) -> object:
    """Require that classes are integers or names, each given once (JSON has text keys only)."""
    keys = list(value) if isinstance(value, (list, Mapping)) else []
    for key in keys:
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            raise ValueError(f"found {_written(key)}; a class is an integer or a name: quote it")
    written = [str(key) for key in keys] if isinstance(value, Mapping) else []
    twice = sorted({key for key in written if written.count(key) > 1})
    if twice:
        raise ValueError(f"class {twice[0]} is written twice, as a number and in quotes")
    return value


ClassKeys = BeforeValidator(_check_class_keys)
"""For lists of classes and mappings whose keys are classes."""


def _number_or_name(value: object) -> object:
    """Turn a key such as "3" into a number: JSON has text keys only."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


ClassKey = Annotated[int | str, BeforeValidator(_number_or_name)]
"""A class by its mask value or its name."""


def _written(value: object) -> str:
    """A value as it is written in a job file."""
    if value is None:
        return "nothing"
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`"


def _takes_bool(annotation: object) -> bool:
    """Whether a setting of this type may be true or false; nested settings check their own fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    if get_origin(annotation) is dict:
        return any(value in (bool, Any) for value in get_args(annotation))
    return annotation in (bool, Any, object) or any(map(_takes_bool, get_args(annotation)))


def _find_bool(value: object) -> bool | None:
    """The first true or false in a value, its lists or its mapping; None if there is none."""
    if isinstance(value, bool):
        return value
    inner = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(inner, (list, tuple)):
        return None
    found = (_find_bool(one) for one in inner if not isinstance(one, Mapping))
    return next((one for one in found if one is not None), None)


@dataclass(frozen=True, slots=True)
class IdentityFields:
    """The settings of a class that are part of a dataset's identity, and so of its id and its bytes.

    The identity of an existing dataset must never change, or it could neither be resumed nor grown.
    Hence the settings of the first version are always part of it, and a setting added or removed later
    only if it makes a difference. Values are JSON values.
    """

    first: tuple[str, ...]
    """Settings of the class when the first dataset was made with it: always part."""
    later: Mapping[str, Any] = field(default_factory=dict)
    """Settings added since, each with the value that stands for the behaviour before the setting
    existed, whatever its default is: part only with another value."""
    gone: Mapping[str, Any] = field(default_factory=dict)
    """Settings removed since, each with the value that is built in now: always part."""
    left_out: tuple[str, ...] = ()
    """Settings that change no byte of a sample, such as paths."""

    def find_problem(self, names: Iterable[str]) -> str:
        """The problem of these lists for a class with the settings `names`; empty if there is none."""
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


class Settings(Described):
    """Base class of all settings: frozen; unknown keys, and `true` in place of a number, are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
    )

    identity_fields: ClassVar[IdentityFields | None] = None
    """Its settings that are part of a dataset's identity. None = all of them, as in plugins' classes."""
    identity_later: ClassVar[Mapping[str, Any]] = {}
    """As `IdentityFields.later`, for settings that a base class adds to all classes derived from it."""

    @classmethod
    def listed_names(cls) -> list[str]:
        """The settings that `identity_fields` has to list."""
        return [name for name in cls.model_fields if name not in cls.identity_later]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - pydantic's signature
        """Refuse a class whose `identity_fields` do not match its settings.

        Raises:
            TypeError: If a setting is not listed, or a listed one does not exist.
        """
        super().__pydantic_init_subclass__(**kwargs)
        problem = (
            cls.identity_fields.find_problem(cls.listed_names()) if cls.identity_fields else ""
        )
        if problem:
            raise TypeError(f"{cls.__module__}.{cls.__qualname__}: {problem}")

    @model_validator(mode="before")
    @classmethod
    def _take_gone(cls, value: Any) -> Any:  # noqa: ANN401 - its type is not checked yet
        """Accept a removed setting with the value that is built in now; others stay unknown keys.

        Jobs that are stored in existing datasets may have it.
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
    """Whether two values of a job file are equal; `true` does not equal 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
