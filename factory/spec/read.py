"""Read a job file: YAML to `JobSpec`, every problem at once, each with its dotted path.

Labels files are read by the same means, and a job that names one is given its content, so that the
job kept beside a dataset stands alone.
"""

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from factory.errors import JobError, SettingProblem
from factory.spec import (
    DatasetSpec,
    DistilSpec,
    JobSpec,
    KlishSpec,
    KMeansSpec,
    PluginSegmenterSpec,
    StyleMixingSpec,
)
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
    match document:
        case {"dataset": {"segmenter": {"labels": str(labels)} as segmenter}} | {
            "dataset": {"segmenter": {"teacher": {"labels": str(labels)} as segmenter}}
        }:
            segmenter["labels"] = load_yaml(Path(labels), noun="labels file", keys="tree, labels")
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


def check_settings(
    kind: type[AnySettings], document: dict[str, Any], *, source: str
) -> AnySettings:
    """Turn a plain mapping into settings of `kind`. `source` names it in errors.

    Raises:
        JobError: If it breaks a rule; the message holds one line per problem.
    """
    unusable = list(_unusable_values(document, ()))
    if unusable:
        raise error_of_settings(source, unusable)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = [_describe(problem, kind) for problem in error.errors(include_url=False)]
        raise error_of_settings(source, problems) from error


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


def _describe(problem: Any, root: type[Settings]) -> SettingProblem:  # noqa: ANN401 - pydantic's
    """One problem that pydantic found: dotted path, what was found, what is allowed."""
    path, model = _follow(problem["loc"], root)
    dotted = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = sorted(model.model_fields) if model else []
        close = difflib.get_close_matches(path[-1], known, n=1)
        allowed = f"known here: {', '.join(known)}"
        if model is PluginSegmenterSpec:
            only = " and ".join(known)
            close = []
            allowed = f"a segmenter from outside has only {only}; ours: {', '.join(_OURS)}"
        return SettingProblem(dotted, "unknown_key", "unknown key", allowed, "".join(close))
    if problem["type"] == "missing":
        return SettingProblem(dotted, "missing", "missing, and required")
    ours = problem.get("ctx", {}).get("error")  # a rule of ours, to whose text pydantic adds words
    rule = str(ours) if isinstance(ours, ValueError) else problem["msg"]
    if problem["type"] == "string_type" and isinstance(problem["input"], (bool, int, float)):
        rule += "; quote it"
    found = repr(problem["input"])
    shown = found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}..."
    return SettingProblem(dotted, "value", shown, rule[0].lower() + rule[1:])


_OURS = ("kmeans", "klish", "style_mixing", "distil")
_BY_TAG: dict[str, type[Settings]] = {
    "kmeans": KMeansSpec,
    "klish": KlishSpec,
    "style_mixing": StyleMixingSpec,
    "distil": DistilSpec,
    "plugin": PluginSegmenterSpec,
}


_UNIONS: tuple[tuple[object, str], ...] = ((DatasetSpec, "segmenter"), (DistilSpec, "teacher"))
"""Settings that are one of several models, told apart by `kind`."""


def _follow(
    loc: Sequence[str | int], root: type[Settings]
) -> tuple[list[str], type[BaseModel] | None]:
    """The dotted path of a pydantic location, and the model its last key was looked up in.

    Pydantic puts the tag of a union's member into the location; people did not write it.
    """
    path: list[str] = []
    model: type[BaseModel] | None = root
    for position, part in enumerate(loc):
        if (model, part) in _UNIONS:
            tag = loc[position + 1] if position + 1 < len(loc) else None
            path.append(str(part))
            model = _BY_TAG.get(str(tag))
            continue
        if path[-1:] in (["segmenter"], ["teacher"]) and part in _BY_TAG:
            continue
        if isinstance(part, str) and ("[" in part or part in ("int", "str", "float")):
            continue  # the tag of a plain union, such as `list[union[int,str]]`
        path.append(str(part))
        if position == len(loc) - 1:
            break
        if isinstance(part, str):
            field = model.model_fields.get(part) if model else None
            model = _model_in(field.annotation if field else None)
    return path, model


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is, or holds: `Model`, `Model | None`, `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
