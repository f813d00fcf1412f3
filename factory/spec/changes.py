"""Settings given beside a job file: dotted paths and values in place of what the file says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.errors import JobError
from factory.spec.check import copy_values
from factory.spec.segmenters import write_out
from factory.spec.yaml_text import parse_yaml

_GROWS = "dataset.num_samples"
_BY_KIND = ("dataset.segmenter", "dataset.segmenter.teacher")
"""Sections that may be the name of a method alone."""
_ALLOWED_STEP = "a step is a plus sign and digits, such as +1000"
_STEP = re.compile(r"\+([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class Changes:
    """What `--set` asks for."""

    settings: Mapping[str, Any]
    """Values by dotted path."""
    add: int | None = None
    """Samples to add to those that are planned; None = `num_samples` is the job's."""


def read_changes(texts: Sequence[str]) -> Changes:
    """Read `path=value` settings, the values as YAML. `dataset.num_samples=+1000` is growth by a step.

    Raises:
        JobError: If one is not of that form, or a path is given twice.
    """
    settings: dict[str, Any] = {}
    add = None
    for text in texts:
        path, is_assigned, value = text.partition("=")
        path = path.strip()
        if not is_assigned or not all(path.split(".")):
            raise JobError(
                where="--set",
                found=f"found {text!r}",
                allowed="path=value, such as run.num_actors=4",
            )
        if path in settings or (path == _GROWS and add is not None):
            raise JobError(where="--set", found=f"sets {path} twice")
        step = _STEP.fullmatch(value.strip()) if path == _GROWS else None
        if step is not None:
            add = int(step[1])
            continue
        if path == _GROWS and value.lstrip(" '\"").startswith("+"):  # YAML reads a total
            raise JobError(
                where=f"--set {path}", found=f"found {value.strip()!r}", allowed=_ALLOWED_STEP
            )
        try:
            settings[path] = parse_yaml(value)
        except ValueError as error:
            raise JobError(
                where=f"--set {path}", found=str(error), remedy="quote the value"
            ) from error
    return Changes(settings, add)


def apply_changes(document: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put each value at its dotted path in a job's plain values, in place; sections are made if missing.

    Raises:
        JobError: If a path leads through something that has no settings.
    """
    for path, value in copy_values(changes, source="changes").items():
        *sections, last = path.split(".")
        here = document
        for position, name in enumerate(sections):
            if here.get(name) is None:
                here[name] = {}
            if ".".join(sections[: position + 1]) in _BY_KIND:
                here[name] = write_out(here[name])
            if not isinstance(here[name], dict):
                inside = ".".join(sections[: position + 1])
                raise JobError(
                    where=path,
                    found=f"{inside} is {here[name]!r}, which has no settings inside",
                    remedy=f"set {inside} as a whole",
                )
            here = here[name]
        here[last] = value
