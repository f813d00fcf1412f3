"""The base class of all methods' settings, and the union type of a job's `segmenter` section.

Each method's settings have a file of their own, listed in `methods.py`; nothing here names a method.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

from factory.errors import did_you_mean, sentence
from factory.spec.clean import CleanSpec
from factory.spec.methods import METHODS, Method
from factory.spec.settings import IdentityFields, Settings

PLUGIN_GROUP = "factory.segmenters"
"""Entry points of segmenters from other distributions."""

KIND_PATTERN = r"^[\w.]+:[\w.]+$|^[\w-]+$"
"""What the name of a method looks like: `module:attribute`, or one word."""

PLUGIN_TAG = "plugin"
"""The tag of a plugin's settings in pydantic's locations."""


def _require_kind(schema: dict[str, Any]) -> None:
    """Make `kind` required in the JSON Schema: a job file names it, code may leave it out."""
    schema["required"] = ["kind", *(k for k in schema.get("required", ()) if k != "kind")]


class MethodSettings(Settings):
    """Base class of the settings of segmenting methods."""

    model_config = ConfigDict(json_schema_extra=_require_kind)
    identity_later: ClassVar[Mapping[str, Any]] = {"clean": None, "confidence": "margin"}

    kind: str
    """The method's name."""
    clean: CleanSpec | None = None
    """Clean-up of the masks that the method makes. Empty = they stay as they are."""
    confidence: Literal["margin", "agreement"] = "margin"
    """What confidence is: `margin` = the lead of each pixel's class over the next one, in the method's
    own measure, and its mean over the mask; `agreement` = how often the method gives that class to such
    pixels in other images, as heads fitted on its masks of 128 images say, and the mean IoU of the
    mask's classes with what they say."""

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002 - pydantic's signature
        """Mark `kind` as set, so that it is written even where defaults are left out."""
        self.model_fields_set.add("kind")

    @classmethod
    def listed_names(cls) -> list[str]:
        """The settings that `identity_fields` has to list: not the `kind` that a job gives a plugin."""
        fields, names = cls.identity_fields, super().listed_names()
        is_given = cls.model_fields["kind"].annotation is str
        if is_given and fields is not None and "kind" not in fields.first:
            names.remove("kind")
        return names

    @model_validator(mode="after")
    def _fitted_once(self) -> "MethodSettings":
        method = METHODS.get(self.kind)
        superseded = find_superseded(method, self) if method else ""
        if superseded:
            raise ValueError(superseded)
        return self


def find_superseded(method: Method, settings: MethodSettings) -> str:
    """The problem of settings beside a fitted file that determines them; empty if there is none."""
    if not method.fitted_file or not getattr(settings, method.fitted_file):
        return ""
    superseded = sorted(method.fit_settings(settings.model_fields_set))
    if not superseded:
        return ""
    return f"`{method.fitted_file}` names a fitted file; leave out {', '.join(superseded)}"


def find_unteachable(method: Method, settings: MethodSettings) -> str:
    """The reason why `distil` cannot imitate a method with these settings; empty if it can."""
    if not method.can_teach:
        return f"{settings.kind} cannot be a teacher; choose another method"
    for name, reason in method.not_taught.items():
        if getattr(settings, name):
            return f"{reason}: leave out `{name}`"
    if method.fitted_file and getattr(settings, method.fitted_file):
        return f"a teacher is fitted with its head: leave out `{method.fitted_file}`"
    return ""


class PluginSegmenterSpec(MethodSettings):
    """A segmenter from outside this package."""

    identity_fields = IdentityFields(("kind", "settings"))

    kind: str = Field(pattern=KIND_PATTERN)
    """`module:attribute`, or the name of an entry point in group `factory.segmenters`."""
    settings: dict[str, Any] = Field({})
    """Settings of the plugin: validated if it has a settings class, else passed on unchanged."""

    @field_validator("kind")
    @classmethod
    def _exists(cls, kind: str) -> str:
        """Refuse a misspelt name before anything is planned; a plugin is not imported for it."""
        if ":" in kind or entry_points(group=PLUGIN_GROUP, name=kind):
            return kind
        known = f"known: {', '.join(METHODS)}, or module:attribute"
        hint = did_you_mean(kind, METHODS)
        raise ValueError(sentence("", "no segmenter has that name", known, hint))


@cache
def settings_class(kind: str) -> type[MethodSettings]:
    """Import the settings class of `kind`, one of `METHODS`."""
    module, _, name = METHODS[kind].settings.partition(":")
    found: type[MethodSettings] = getattr(import_module(module), name)
    return found


def summarise(kind: str) -> str:
    """A one-sentence summary of a method; empty for a plugin, which is not imported for it."""
    return (settings_class(kind).__doc__ or "").partition("\n")[0] if kind in METHODS else ""


@dataclass(frozen=True, slots=True)
class ByKind:
    """Annotation of a section that holds the settings of any method, discriminated by `kind`.

    To type checkers it is a `MethodSettings`; for pydantic it is a tagged union of the classes in the
    table and that of plugins. A name alone, such as `segmenter: klish`, is the method with its defaults.
    """

    teachers_only: bool = False
    """Leave out what `distil` cannot imitate."""

    def classes(self) -> Mapping[str, type[MethodSettings]]:
        """The classes by their tags in pydantic's locations: the kind, or `plugin`."""
        kinds = [kind for kind, m in METHODS.items() if m.can_teach or not self.teachers_only]
        return {kind: settings_class(kind) for kind in kinds} | {PLUGIN_TAG: PluginSegmenterSpec}

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Build the schema of the tagged union, which a name alone can stand for."""
        members = tuple(Annotated[one, Tag(tag)] for tag, one in self.classes().items())
        union = handler.generate_schema(Annotated[Union[members], Discriminator(_tag_of)])  # noqa: UP007 - members are not known to the type checker
        return no_info_before_validator_function(write_out, union)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the name alone to the alternatives."""
        found = handler(schema)
        name = {"type": "string", "pattern": KIND_PATTERN, "description": "The kind alone."}
        return {**found, "oneOf": [*found["oneOf"], name]}


def write_out(section: object) -> object:
    """A section as a mapping where it is the name of a method alone."""
    return {"kind": section} if isinstance(section, str) else section


def _tag_of(value: object) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in METHODS else PLUGIN_TAG


SegmenterSpec = Annotated[MethodSettings, ByKind()]
"""The settings of any method."""

TeacherSpec = Annotated[MethodSettings, ByKind(teachers_only=True)]
"""The settings of any method that `distil` can imitate."""
