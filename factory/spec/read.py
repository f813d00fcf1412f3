"""Read a job file: YAML to `JobSpec`, every problem at once, each with its dotted path.

Labels files are read by the same means, and a job that names one is given its content, so that the
job kept beside a dataset stands alone.
"""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from factory.errors import JobError, SettingProblem
from factory.spec.job import JobSpec
from factory.spec.methods import METHODS
from factory.spec.segmenters import PLUGIN_TAG, ByKind, PluginSegmenterSpec, settings_class
from factory.spec.settings import Settings
from factory.spec.yaml_text import parse_yaml

AnySettings = TypeVar("AnySettings", bound=Settings)

_MOST_SHOWN = 100
_MOST_BYTES = 2**20
_MOST_BITS = 63
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and newline, and halves of characters: none is part of a name or path."""


def load_job(path: Path) -> JobSpec:
    """Read and check the job file at `path`, and the labels file it names, if any.

    Raises:
        JobError: If a file cannot be read, is not YAML, or breaks a rule; the message holds one
            line per problem.
    """
    document = load_yaml(path, noun="job file", keys="name, dataset, output")
    for section in _segmenter_sections(document):
        _inline_files(section)
    return check_job(document, source=str(path))


def check_job(document: dict[str, Any], *, source: str) -> JobSpec:
    """Turn a plain mapping into a `JobSpec`. `source` names it in errors.

    Raises:
        JobError: If it breaks a rule; the message holds one line per problem.
    """
    return check_settings(JobSpec, document, source=source)


def load_yaml(path: Path, *, noun: str, keys: str) -> dict[str, Any]:
    """The mapping in a YAML file, which errors call a `noun` with `keys`.

    Raises:
        JobError: If the file cannot be read, is not YAML, or holds something else.
    """
    try:
        document = parse_yaml(_read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise JobError(f"{path}: cannot read the {noun} ({reason})") from error
    except ValueError as error:
        raise JobError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        found = "nothing" if document is None else type(document).__name__
        raise JobError(
            where=str(path), found=f"found {found}", allowed=f"a {noun} is a mapping with {keys}"
        )
    return document


def _read_text(path: Path) -> str:
    """A file's text, or what comes out of a pipe; no more than a job can have, whatever it is.

    Raises:
        OSError, UnicodeDecodeError: If it cannot be read, or is not text.
        ValueError: If it is longer than a job can be, or nobody will ever write it.
    """
    if path.is_fifo() and not path.is_relative_to("/dev") and not path.is_relative_to("/proc"):
        raise ValueError("found a named pipe; give a file")
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"found more than {_MOST_BYTES:,} bytes; give a YAML file")
    return data.decode("utf-8")


def _segmenter_sections(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of a job that hold a method's settings: the segmenter's, and a teacher's in it."""
    dataset = document.get("dataset")
    pending = [dataset.get("segmenter")] if isinstance(dataset, dict) else []
    while pending:
        section = pending.pop()
        if not isinstance(section, dict):
            continue
        yield section
        kind = section.get("kind")
        if isinstance(kind, str) and kind in METHODS:
            fields = settings_class(kind).model_fields
            pending += [section.get(name) for name, field in fields.items() if _by_kind(field)]


def _inline_files(section: dict[str, Any]) -> None:
    """Put the content of YAML files in the place of their paths."""
    kind = section.get("kind")
    if not isinstance(kind, str) or kind not in METHODS:
        return
    for name in METHODS[kind].inlined:
        if isinstance(section.get(name), str):
            model = _model_in(settings_class(kind).model_fields[name].annotation)
            keys = ", ".join(model.model_fields) if model else name
            section[name] = load_yaml(Path(section[name]), noun=f"{name} file", keys=keys)


def check_settings(
    kind: type[AnySettings],
    document: Mapping[str, Any],
    *,
    source: str,
    under: str = "",
    given: Mapping[str, Any] = MappingProxyType({}),
) -> AnySettings:
    """Turn a plain mapping into settings of `kind`. `source` names it in errors.

    Args:
        kind: The settings class.
        document: What a person wrote.
        source: What it is called in errors.
        under: The mapping's place in the job, with which every path in an error begins.
        given: Settings that are not a person's to write.

    Returns:
        The checked settings.

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
        problems += [_describe(problem, where) for problem in error.errors(include_url=False)]
        raise error_of_settings(source, problems) from error
    if problems:
        raise error_of_settings(source, problems)
    return checked


def error_of_settings(source: str, problems: Sequence[SettingProblem]) -> JobError:
    """One error for all `problems` of what `source` names, with a line for each."""
    found = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    message = "\n".join([f"{source}: {found}", *(f"  {problem}" for problem in problems)])
    return JobError(message, where=source, found=found, problems=tuple(problems))


def _unusable_values(value: object, path: tuple[str, ...]) -> Iterator[SettingProblem]:
    """Each value that no setting can have, whatever it is called."""
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
    """What is read, and where a person wrote it."""

    root: type[Settings]
    under: list[str]
    given: frozenset[str]


def _unknown_key(where: _Place, model: type[BaseModel] | None, path: list[str]) -> SettingProblem:
    names = set(model.model_fields) if model else set()
    known = sorted(names - where.given) if model is where.root else sorted(names)
    close = difflib.get_close_matches(path[-1], known, n=1)
    allowed = f"known here: {', '.join(known)}"
    if model is PluginSegmenterSpec:
        close = []
        only = " and ".join(known)
        allowed = f"a segmenter from outside has only {only}; ours: {', '.join(METHODS)}"
    dotted = ".".join([*where.under, *path])
    return SettingProblem(dotted, "unknown_key", "unknown key", allowed, "".join(close))


def _gone_setting(
    dotted: str, model: type[BaseModel] | None, value: object
) -> SettingProblem | None:
    """What is wrong with a setting that was removed; None if there never was one."""
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
    """One problem that pydantic found: dotted path, what was found, what is allowed."""
    path, model = _follow(problem["loc"], where.root)
    dotted = ".".join([*where.under, *path])
    context = problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        return _gone_setting(dotted, model, problem["input"]) or _unknown_key(where, model, path)
    if problem["type"] == "missing":
        return SettingProblem(dotted, "missing", "missing, and required")
    if problem["type"] == "union_tag_invalid":  # pydantic's words for it name a function of ours
        tags = context["expected_tags"].replace("'", "").replace(PLUGIN_TAG, "module:attribute")
        return SettingProblem(
            f"{dotted}.kind", "value", repr(context["tag"]), f"input should be one of {tags}"
        )
    ours = context.get("error")  # a rule of ours, to whose text pydantic adds words
    rule = str(ours) if isinstance(ours, ValueError) else problem["msg"]
    if problem["type"] == "string_type" and isinstance(problem["input"], (bool, int, float)):
        rule += "; quote it"
    found = repr(problem["input"])
    shown = found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}..."
    return SettingProblem(dotted, "value", shown, rule[0].lower() + rule[1:])


def _follow(
    loc: Sequence[str | int], root: type[Settings]
) -> tuple[list[str], type[BaseModel] | None]:
    """The dotted path of a pydantic location, and the model its last key was looked up in.

    Pydantic puts the tag of a union's member into the location; people did not write it.
    """
    path: list[str] = []
    model: type[BaseModel] | None = root
    tags: Mapping[str, type[BaseModel]] = {}
    for position, part in enumerate(loc):
        if part in tags:
            model, tags = tags[str(part)], {}
            continue
        if isinstance(part, str) and ("[" in part or part in ("int", "str", "float")):
            continue  # the tag of a plain union, such as `list[union[int,str]]`
        path.append(str(part))
        field = model.model_fields.get(part) if model and isinstance(part, str) else None
        union = _by_kind(field) if field else None
        tags = union.classes() if union else {}
        if position == len(loc) - 1:
            break
        if isinstance(part, str):
            model = _model_in(field.annotation if field else None)
    return path, model


def _by_kind(field: FieldInfo) -> ByKind | None:
    """The mark of a field that holds any method's settings."""
    return next((mark for mark in field.metadata if isinstance(mark, ByKind)), None)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is, or holds: `Model`, `Model | None`, `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
