"""Where files that jobs name were last seen on this machine, by their SHA-256.

A job that is stored in a dataset names no folder of its maker. On the maker's own machine its weights
are found by their content.
"""

import contextlib
from pathlib import Path

from factory.errors import FactoryError
from factory.store.cache import cache_folder
from factory.store.single_file import replace_file


def note_place(sha256: str, path: Path) -> None:
    """Remember that the file, or folder, with this SHA-256 lies at `path`."""
    place = str(path.absolute())
    if find_place(sha256) == Path(place):
        return
    with contextlib.suppress(
        OSError, FactoryError
    ):  # a full or read-only home must not cost the run
        note = _note(sha256)
        note.parent.mkdir(parents=True, exist_ok=True)
        replace_file(note, place.encode())


def find_place(sha256: str) -> Path | None:
    """Where it was seen last; None if nothing is there. What is there may have changed."""
    try:
        place = Path(_note(sha256).read_text(encoding="utf-8"))
        return place if place.exists() else None
    except (OSError, ValueError):
        return None


def _note(sha256: str) -> Path:
    return cache_folder("seen") / sha256
