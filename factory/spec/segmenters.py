"""What the settings of all segmenting methods share, and the section of a job that holds one of them.

Each method's own settings are in a file of their own; `methods.py` says which, and nothing here names
a method.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, Union

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema

from factory.spec.clean import CleanSpec
from factory.spec.methods import METHODS, Method
from factory.spec.settings import IdentityFields, Settings

PLUGIN_TAG = "plugin"
"""What pydantic calls a plugin's settings in locations."""


def _require_kind(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema that a job names the kind, which code may leave out."""
    schema["required"] = ["kind", *(k for k in schema.get("required", ()) if k != "kind")]


class MethodSettings(Settings):
    """The settings of one segmenting method: what its masks are, and what it is fitted on."""

    model_config = ConfigDict(json_schema_extra=_require_kind)
    identity_later: ClassVar[Mapping[str, Any]] = {"clean": None}

    kind: str
    """The method's name."""
    clean: CleanSpec | None = None
    """Clean-up of the masks that the method makes. Empty = they stay as they are."""

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002 - pydantic's signature
        """Keep `kind` among what was set: without it nobody could read the settings back."""
        self.model_fields_set.add("kind")

    @model_validator(mode="after")
    def _fitted_once(self) -> "MethodSettings":
        method = METHODS.get(self.kind)
        settled = find_settled(method, self) if method else ""
        if settled:
            raise ValueError(settled)
        return self


def find_settled(method: Method, settings: MethodSettings) -> str:
    """What is wrong if a fitted file is named beside settings that it settles; empty if nothing is."""
    if not method.fitted_file or not getattr(settings, method.fitted_file):
        return ""
    settled = sorted(method.settles(settings.model_fields_set))
    if not settled:
        return ""
    return f"`{method.fitted_file}` names a file that is fitted already; leave out {', '.join(settled)}"


def find_unteachable(method: Method, settings: MethodSettings) -> str:
    """Why `distil` cannot imitate a method with these settings; empty if it can."""
    if not method.can_teach:
        return f"{settings.kind} is no teacher; choose another method"
    for name, reason in method.not_taught.items():
        if getattr(settings, name):
            return f"{reason}: leave out `{name}`"
    if method.fitted_file and getattr(settings, method.fitted_file):
        return f"a teacher is fitted with its head: leave out `{method.fitted_file}`"
    return ""


class PluginSegmenterSpec(MethodSettings):
    """A segmenter from outside this package."""

    identity_fields = IdentityFields(("kind", "settings"))

    kind: str = Field(pattern=r"^[\w.]+:[\w.]+$|^[\w-]+$")
    """`module:attribute`, or the name of an entry point in group `factory.segmenters`."""
    settings: dict[str, Any] = Field({})
    """Handed to the plugin: as they are, or checked by the settings class that it brings."""


@cache
def settings_class(kind: str) -> type[MethodSettings]:
    """The settings class of `kind`, one of `METHODS`."""
    module, _, name = METHODS[kind].settings.partition(":")
    found: type[MethodSettings] = getattr(import_module(module), name)
    return found


def summarise(kind: str) -> str:
    """What a method is, in one sentence; empty for a plugin, which is not imported to ask it."""
    return (settings_class(kind).__doc__ or "").partition("\n")[0] if kind in METHODS else ""


@dataclass(frozen=True, slots=True)
class ByKind:
    """Marks a section of the job that holds the settings of any method, told apart by `kind`.

    To type checkers it holds a `MethodSettings`; pydantic makes a tagged union of the table's
    classes and the plugin's.
    """

    teachers_only: bool = False
    """Leave out what `distil` cannot imitate."""

    def classes(self) -> Mapping[str, type[MethodSettings]]:
        """The classes by the tag that pydantic puts into locations: the kind, or `plugin`."""
        kinds = [kind for kind, m in METHODS.items() if m.can_teach or not self.teachers_only]
        return {kind: settings_class(kind) for kind in kinds} | {PLUGIN_TAG: PluginSegmenterSpec}

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Tell pydantic what such a section holds."""
        members = tuple(Annotated[one, Tag(tag)] for tag, one in self.classes().items())
        return handler.generate_schema(Annotated[Union[members], Discriminator(_tag_of)])  # noqa: UP007 - members are not known to the type checker


def _tag_of(value: object) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in METHODS else PLUGIN_TAG


SegmenterSpec = Annotated[MethodSettings, ByKind()]
"""The settings of any method."""

TeacherSpec = Annotated[MethodSettings, ByKind(teachers_only=True)]
"""The settings of any method that `distil` can imitate."""
