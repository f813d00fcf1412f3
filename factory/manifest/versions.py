"""Read versioned files: older layouts are accepted, newer ones refused with an error that says so."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from factory.errors import FactoryError, JobError, StoreError
from factory.provenance import find_versions

AnyFile = TypeVar("AnyFile", bound=BaseModel)


def read_file_of(
    kind: type[AnyFile], data: bytes, *, source: str, error: type[FactoryError] = StoreError
) -> AnyFile:
    """Parse a JSON file of a `kind` that has a `schema_version`. Older layouts are read.

    Args:
        kind: The model of its content.
        data: Its bytes.
        source: Its name in errors.
        error: Raised for a newer layout.

    Returns:
        The content.

    Raises:
        FactoryError: `error`, if a newer version wrote it. It is no damage, which `repair` would remove.
        ValidationError, JobError: If it is damaged.
    """
    try:
        found = kind.model_validate_json(data)
    except (ValidationError, JobError):
        _refuse_newer(kind, _stated_version(data), source, error)
        raise
    _refuse_newer(kind, getattr(found, "schema_version", 0), source, error)
    return found


def _stated_version(data: bytes) -> int:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    version = document.get("schema_version") if isinstance(document, dict) else None
    return version if isinstance(version, int) else 0


def _refuse_newer(
    kind: type[BaseModel], version: int, source: str, error: type[FactoryError]
) -> None:
    newest = kind.model_fields["schema_version"].default
    if version > newest:
        raise error(
            where=source,
            found=f"written by a newer maskfactory (layout {version})",
            allowed=f"this one, {find_versions()['maskfactory']}, reads layouts up to {newest}",
            remedy="update it",
        )
