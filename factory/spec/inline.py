"""Replace paths of YAML files in a job by their content, so that a stored job is self-contained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.spec.check import by_kind, model_in
from factory.spec.methods import METHODS
from factory.spec.segmenters import settings_class
from factory.spec.yaml_file import load_yaml


def inline_files(document: dict[str, Any]) -> None:
    """Replace the paths of YAML files, such as labels, by their content, in place.

    Raises:
        JobError: If one cannot be read.
    """
    for section in _segmenter_sections(document):
        _inline_into(section)


def _segmenter_sections(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of a job with a method's settings: the segmenter's, and a teacher's inside it."""
    dataset = document.get("dataset")
    pending = [dataset.get("segmenter"), *_others(dataset)] if isinstance(dataset, dict) else []
    while pending:
        section = pending.pop()
        if not isinstance(section, dict):
            continue
        yield section
        kind = section.get("kind")
        if isinstance(kind, str) and kind in METHODS:
            fields = settings_class(kind).model_fields
            pending += [section.get(name) for name, field in fields.items() if by_kind(field)]


def _others(dataset: dict[str, Any]) -> list[Any]:
    """The sections of the methods that masks are compared with, as far as they are sections."""
    agreement = dataset.get("agreement")
    others = agreement.get("others") if isinstance(agreement, dict) else None
    entries = others if isinstance(others, list) else []
    return [entry.get("method") for entry in entries if isinstance(entry, dict)]


def _inline_into(section: dict[str, Any]) -> None:
    """Replace the paths of YAML files in one section by their content."""
    kind = section.get("kind")
    if not isinstance(kind, str) or kind not in METHODS:
        return
    for name in METHODS[kind].inlined:
        if isinstance(section.get(name), str):
            model = model_in(settings_class(kind).model_fields[name].annotation)
            keys = ", ".join(model.model_fields) if model else name
            section[name] = load_yaml(Path(section[name]), noun=f"{name} file", keys=keys)
