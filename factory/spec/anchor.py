"""Find the files that a job names beside the job's own file, wherever the command runs.

A job is often run from another folder than its own, so a relative path in it means the job's folder
first. Jobs written before that mean the folder the command runs in, which is looked at second.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from factory.spec.check import by_kind, models_in
from factory.spec.settings import IsInputPath


def anchor_paths(document: dict[Any, Any], model: type[BaseModel], folder: Path) -> None:
    """Replace relative paths of files that lie below `folder` by paths that lead there, in place.

    Args:
        document: A job, or a section of it, as it was written; it need not be valid.
        model: Its settings class, which marks what is a path.
        folder: The folder of the job's file, as the user wrote it.
    """
    _change_paths(document, model, partial(_anchored, folder=folder))


def unname_folders(document: dict[Any, Any], model: type[BaseModel], root: Path | None) -> None:
    """Replace paths of files by such that tell no folder of whoever wrote them, in place.

    They are relative to a dataset, whose folder they are read from: a file that lies with the dataset
    below the folder where this runs, or beside the dataset, is found there; of another one only the name
    is left, as if it lay beside the dataset.

    Args:
        document: A job, or a section of it.
        model: Its settings class.
        root: The dataset's folder; None if it lies on a server.
    """
    _change_paths(document, model, partial(_unnamed, root=root.absolute() if root else None))


def _unnamed(value: Any, root: Path | None) -> Any:  # noqa: ANN401 - any plain value
    if isinstance(value, list):
        return [_unnamed(one, root) for one in value]
    if not isinstance(value, str) or not value:
        return value
    written = value.removeprefix("file://")
    if ":" in written:  # it leads somewhere by itself
        return value
    path = Path(os.path.normpath(Path(written).expanduser().absolute()))
    beside = f"../{path.name}"
    if root is None:
        return beside
    top = Path(path.anchor), Path("~").expanduser()
    for shared in (Path.cwd(), root.parent):
        if shared not in top and root.is_relative_to(shared) and path.is_relative_to(shared):
            return os.path.relpath(path, root)
    return beside


def _change_paths(
    document: dict[Any, Any], model: type[BaseModel], change: Callable[[Any], Any]
) -> None:
    for name, field in model.model_fields.items():
        value = document.get(name)
        if value is None:
            continue
        if _is_path(field):
            document[name] = change(value)
            continue
        for section in value if isinstance(value, list) else [value]:
            if isinstance(section, dict):
                for inner in _models_of(field, section):
                    _change_paths(section, inner, change)


def _models_of(field: FieldInfo, value: dict[Any, Any]) -> Iterator[type[BaseModel]]:
    """The classes that the section `value` may have."""
    union = by_kind(field)
    if union is None:
        yield from models_in(field.annotation)
        return
    one = union.classes().get(str(value.get("kind")))
    if one is not None:  # a plugin's settings are not known before it is imported
        yield one


def _is_path(field: FieldInfo) -> bool:
    return any(
        isinstance(mark, IsInputPath) for mark in (*field.metadata, *_marks(field.annotation))
    )


def _marks(annotation: object) -> Iterator[object]:
    for inner in get_args(annotation):
        yield inner
        yield from _marks(inner)


def _anchored(value: Any, folder: Path) -> Any:  # noqa: ANN401 - not validated yet
    """`value` as a path that leads to `folder`, if it is one and something lies there."""
    if isinstance(value, list):
        return [_anchored(one, folder) if isinstance(one, str) else one for one in value]
    if not isinstance(value, str) or not value or ":" in value or "\0" in value:
        return value  # `shipped:NAME` and addresses lead somewhere by themselves
    there = folder / value
    try:
        is_there = _lies_there(there)
    except (OSError, ValueError):  # too long a name, or a folder that cannot be read
        return value
    return str(there) if is_there else value


def _lies_there(path: Path) -> bool:
    """Whether there is such a file or folder, or for a brace range one that begins like it."""
    before, brace, _ = str(path).partition("{")
    if not brace:
        return path.exists()
    start = Path(before)
    return any(start.parent.glob(f"{start.name}*")) if not before.endswith("/") else start.is_dir()
