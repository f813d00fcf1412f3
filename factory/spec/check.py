"""Validate plain values as settings; report every problem at once, each with its dotted path."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from factory.errors import JobError, SettingProblem, closest, count_problems
from factory.spec.methods import METHODS
from factory.spec.segmenters import PLUGIN_TAG, ByKind, PluginSegmenterSpec
from factory.spec.settings import Settings
from factory.spec.unions import is_member, merge_members
from factory.spec.yaml_text import DEEPEST, MOST_VALUES

AnySettings = TypeVar("AnySettings", bound=Settings)

_MOST_SHOWN = 100
_MOST_BITS = 63
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and newline, and lone surrogates: none belongs in a name or a path."""


def check_settings(
    kind: type[AnySettings],
    document: Mapping[str, Any],
    *,
    source: str,
    under: str = "",
    given: Mapping[str, Any] = MappingProxyType({}),
) -> AnySettings:
    """Validate a plain mapping as settings of `kind`.

    Args:
        kind: The settings class.
        document: The mapping, as it was written.
        source: Its name in errors.
        under: Dotted path of the mapping in the job: the prefix of every path in errors.
        given: Settings that are set by the program, and must not be in `document`.

    Returns:
        The validated settings.

    Raises:
        JobError: If it breaks a rule; the message holds one line per problem.
    """
    where = _Place(kind, [under] if under else [], frozenset(given))
    problems = list(_unusable_values(document, tuple(where.under)))
    if problems:
        raise error_of_settings(source, problems)
    problems = [_unknown_key(where, kind, [name]) for name in document if name in given]
    try:
        checked = kind.model_validate({**document, **given})
    except ValidationError as error:
        told = merge_members(error.errors(include_url=False))
        problems += [_describe(problem, where) for problem in told]
        raise error_of_settings(source, _without_noise(problems)) from error
    if problems:
        raise error_of_settings(source, problems)
    return checked


def copy_values(document: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Copy plain values: later changes of its lists and mappings do not change the copy.

    Raises:
        JobError: If it is larger or deeper than a job file may be; a mapping can contain itself.
    """
    num_values = 0

    def copied(value: object, depth: int) -> Any:  # noqa: ANN401 - any plain value
        nonlocal num_values
        num_values += 1
        if depth > DEEPEST or num_values > MOST_VALUES:
            raise JobError(
                where=source,
                found=f"found more than {MOST_VALUES:,} values, or some nested too deep",
                allowed=f"lists and mappings in each other up to {DEEPEST} deep",
            )
        if isinstance(value, dict):
            return {key: copied(inner, depth + 1) for key, inner in value.items()}
        return [copied(inner, depth + 1) for inner in value] if isinstance(value, list) else value

    return {key: copied(value, 1) for key, value in document.items()}


def error_of_settings(source: str, problems: Sequence[SettingProblem]) -> JobError:
    """Make one error of all `problems` in `source`, with a line for each."""
    found = count_problems(len(problems))
    message = "\n".join([f"{source}: {found}", *(f"  {problem}" for problem in problems)])
    return JobError(message, where=source, found=found, problems=tuple(problems))


def _without_noise(problems: list[SettingProblem]) -> list[SettingProblem]:
    """Leave out unknown keys of a section whose kind is wrong: another kind may have them."""
    wrong = {
        section for section, _, name in (p.path.rpartition(".") for p in problems) if name == "kind"
    }
    return [
        p for p in problems if p.kind != "unknown_key" or p.path.rpartition(".")[0] not in wrong
    ]


def _unusable_values(value: object, path: tuple[str, ...]) -> Iterator[SettingProblem]:
    """Find values that no setting can have, such as control characters, NaN and huge integers."""
    # Before pydantic sees them: its messages would print them to a terminal, and it takes NaN for a
    # number in plugin settings, which have no types.
    where = ".".join(path) or "the whole"
    match value:
        case dict():
            for key, inner in value.items():
                if isinstance(key, str) and _NO_TEXT.search(key):
                    found = f"the key {key!r} has a control character"
                    yield SettingProblem(where, "unusable", found, "leave it out")
                else:
                    yield from _unusable_values(inner, (*path, str(key)))
        case list():
            for position, inner in enumerate(value):
                yield from _unusable_values(inner, (*path, str(position)))
        case str() if control := _NO_TEXT.search(value):
            place = f"U+{ord(control[0]):04X} at character {control.start() + 1}"
            found = f"found the control character {place}"
            yield SettingProblem(where, "unusable", found, "leave it out")
        case int() if value.bit_length() > _MOST_BITS:
            found = f"found a number of {value.bit_length()} bits"
            yield SettingProblem(where, "unusable", found, f"at most {_MOST_BITS}")
        case float() if not math.isfinite(value):
            yield SettingProblem(where, "unusable", f"found {value}", "numbers are finite")


@dataclass(frozen=True, slots=True)
class _Place:
    """What is validated, and its place in the job."""

    root: type[Settings]
    under: list[str]
    given: frozenset[str]


def _unknown_key(where: _Place, model: type[BaseModel] | None, path: list[str]) -> SettingProblem:
    names = set(model.model_fields) if model else set()
    known = sorted(names - where.given) if model is where.root else sorted(names)
    near = closest(path[-1], known)
    allowed = f"known here: {', '.join(known)}"
    if model is PluginSegmenterSpec:
        near = ""
        only = " and ".join(known)
        allowed = f"a segmenter from outside has only {only}; ours: {', '.join(METHODS)}"
    dotted = ".".join([*where.under, *path])
    return SettingProblem(dotted, "unknown_key", "unknown key", allowed, near)


def _gone_setting(
    dotted: str, model: type[BaseModel] | None, value: object
) -> SettingProblem | None:
    """The problem of a setting that was removed; None if there never was one of this name."""
    fields = model.identity_fields if model and issubclass(model, Settings) else None
    name = dotted.rpartition(".")[2]
    if fields is None or name not in fields.gone:
        return None
    return SettingProblem(
        dotted,
        "gone",
        f"found {value!r}, but this setting is gone and always {fields.gone[name]!r} now",
        "leave it out; a dataset made with another value can be read here, and only a version that "
        "has the setting can make more of it",
    )


def _describe(problem: Any, where: _Place) -> SettingProblem:  # noqa: ANN401 - pydantic's
    """Translate one problem that pydantic found: dotted path, what was found, what is allowed."""
    path, model = _follow(problem["loc"], where.root)
    dotted = ".".join([*where.under, *path])
    context = problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        return _gone_setting(dotted, model, problem["input"]) or _unknown_key(where, model, path)
    if problem["type"] == "missing":
        return SettingProblem(dotted, "missing", "missing, and required")
    if problem["type"] == "union_tag_invalid":  # its own text names an internal function
        tags = context["expected_tags"].replace("'", "").replace(PLUGIN_TAG, "module:attribute")
        return SettingProblem(
            f"{dotted}.kind", "value", repr(context["tag"]), f"input should be one of {tags}"
        )
    if problem["type"] == "model_type":  # pydantic's words for it name a class of ours
        found = repr(problem["input"])[:_MOST_SHOWN]
        return SettingProblem(dotted, "value", found, "input should be a mapping of settings")
    ours = context.get("error")  # our own rule: pydantic puts a prefix before its text
    rule = str(ours) if isinstance(ours, ValueError) else problem["msg"]
    if problem["type"] == "string_type" and isinstance(problem["input"], (bool, int, float)):
        rule += "; quote it"
    found = repr(problem["input"])
    shown = found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}..."
    return SettingProblem(dotted, "value", shown, rule[0].lower() + rule[1:])


def _follow(
    loc: Sequence[str | int], root: type[Settings]
) -> tuple[list[str], type[BaseModel] | None]:
    """The dotted path of a pydantic location, and the model that its last key belongs to.

    Pydantic inserts the tags of unions into locations; a job file does not have them.
    """
    path: list[str] = []
    model: type[BaseModel] | None = root
    tags: Mapping[str, type[BaseModel]] = {}
    for position, part in enumerate(loc):
        if part in tags:
            model, tags = tags[str(part)], {}
            continue
        if is_member(part):
            continue
        path.append(str(part))
        field = model.model_fields.get(part) if model and isinstance(part, str) else None
        union = by_kind(field) if field else None
        tags = union.classes() if union else {}
        if position == len(loc) - 1:
            break
        if isinstance(part, str):
            model = model_in(field.annotation if field else None)
    return path, model


def by_kind(field: FieldInfo) -> ByKind | None:
    """The `ByKind` annotation of a field that holds any method's settings; None for other fields."""
    return next((mark for mark in field.metadata if isinstance(mark, ByKind)), None)


def model_in(annotation: object) -> type[BaseModel] | None:
    """The first model in an annotation such as `Model`, `Model | None` or `list[Model]`."""
    return next(models_in(annotation), None)


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Iterate over all models in an annotation such as `One | Other` or `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)
