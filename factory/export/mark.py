"""The mark that an export leaves in its folder: two exports never mix, and a killed one is told."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factory.errors import FactoryError, JobError
from factory.export.coco_classes import ANNOTATIONS
from factory.export.examples import Exported
from factory.identity import canonical_json
from factory.store.single_file import create_file, remove_staged, replace_file

MARK_NAME = ".maskfactory-export.json"
"""Hidden, so that no tool takes it for a part of the dataset."""

_OPTION = "-o"
_MOST_BYTES = 2**16
_FINISHED = "finished"


@contextmanager
def marked(folder: Path, source: Exported, layout: str) -> Iterator[None]:
    """Context manager that claims `folder` for an export, and marks it finished if the block succeeds.

    The same export may be written again, and goes on where it was killed, by writing all of it. One that
    is refused before it wrote anything leaves no mark, and no folder that it made.

    Raises:
        JobError: If the folder holds anything else: another export, or files that none wrote.
        OSError: If the folder cannot be written.
    """
    mark = _mark_of(source, layout)
    path = folder / MARK_NAME
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists() and (odd := _any_entry(folder)) is not None:
        raise _refusal(folder, f"holds {odd}, which no export wrote")
    begun, finished = (_encode(mark | {_FINISHED: state}) for state in (False, True))
    if not create_file(path, begun):
        _check_same(folder, _read(path), mark)
        replace_file(path, begun)
        remove_staged(folder)
        remove_staged(folder / ANNOTATIONS)
    try:
        yield
    except FactoryError:
        if [*folder.iterdir()] == [path]:  # refused before anything was written: nothing to mark
            path.unlink()
            if is_new:
                folder.rmdir()
        raise
    replace_file(path, finished)


def check_finished(folder: Path, option: str) -> None:
    """Require that a folder with an export's mark holds all of it; `option` names the folder in errors.

    Raises:
        JobError: If the export was killed and not run again.
    """
    path = folder / MARK_NAME
    if path.is_file() and _read(path).get(_FINISHED) is not True:
        raise JobError(
            where=f"{option}: {folder}",
            found="an export that did not finish",
            remedy="run `factory export` again: it writes all of it",
        )


def _mark_of(source: Exported, layout: str) -> dict[str, Any]:
    """What is exported, as JSON: another format, dataset or choice of samples differs."""
    digest = hashlib.sha256()
    for record in source.records():
        rows = [record.path, record.sha256, sorted(source.left_out.of(record))]
        digest.update(canonical_json(rows).encode())
    return {
        "format": layout,
        "dataset_id": source.manifest.dataset_id,
        "samples_sha256": digest.hexdigest(),
    }


def _encode(mark: dict[str, Any]) -> bytes:
    return f"{canonical_json(mark)}\n".encode()


def _check_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if not found:
        raise _refusal(folder, f"holds {MARK_NAME}, which no export wrote")
    for name, told in (("format", "another format"), ("dataset_id", "another dataset")):
        if found.get(name) != wanted[name]:
            what = f"{str(found.get(name))[:40]}, not {wanted[name]}"
            raise _refusal(folder, f"holds an export of {told} ({what})")
    if found.get("samples_sha256") != wanted["samples_sha256"]:
        raise _refusal(
            folder,
            "holds an export of other samples of this dataset (it has grown since, or --split or "
            "--near-train differ)",
        )


def _refusal(folder: Path, found: str) -> JobError:
    return JobError(
        where=_OPTION,
        found=f"{folder} {found}",
        remedy="choose an empty folder, or remove this one: exports are not mixed",
    )


def _any_entry(folder: Path) -> str | None:
    """The first name in a folder; hidden ones are those of file browsers and version control."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return names[0] if names else None


def _read(path: Path) -> dict[str, Any]:
    """What a mark says; nothing if it is none."""
    if not path.is_file():  # opening a pipe would block
        return {}
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
