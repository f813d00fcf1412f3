"""The promise of a store: a file is absent or whole, and a name that was created never changes.

`create` and `publish` are exclusive: of two writers one wins, and the other is told. `replace` is
for views that can be rebuilt. All paths are relative to the dataset's root and use `/`.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

TEMPORARY = "tmp"
"""Unfinished files of runs, in a local folder; a bucket has uploads that are not complete instead."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store, or something unfinished beside it."""

    path: str
    """Relative to the dataset's root; for something unfinished, how a person finds it."""
    size_bytes: int
    """Its size; 0 if the store does not tell."""
    changed_at: float
    """When it was last written, in seconds since 1970, by the store's clock."""
    upload_id: str = ""
    """The upload it is, if it is one that was begun and not completed."""


@runtime_checkable
class Store(Protocol):
    """Keeps the files of one dataset. Every method raises `StoreError` if the store refuses."""

    uri: str
    """How a person names this store."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a new file; False (and no change) if the name exists."""

    def publish(self, path: str, file: Path) -> bool:
        """Move a finished local file under its final name; False (and no change) if that exists."""

    def replace(self, path: str, data: bytes) -> None:
        """Write a file whatever was there; readers see the old bytes or the new."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is absent."""

    def fetch(self, path: str) -> AbstractContextManager[Path | None]:
        """A local path with the file's bytes while the context lasts; None if it is absent."""

    def size_of(self, path: str) -> int | None:
        """A file's size in bytes; None if it is absent."""

    def remove(self, path: str) -> None:
        """Make a file absent; nothing happens if it is."""

    def names(self, folder: str, splits: Sequence[str] = ()) -> list[str]:
        """Paths of all files below `folder`, sorted; empty if there is none.

        `splits`, sorted paths below `folder`, are where a long listing may be divided into pieces
        that are fetched side by side.
        """

    def files(self, folder: str) -> list[StoredFile]:
        """All files below `folder` with size and time, sorted by path."""

    def find_foreign_entry(self, known: Collection[str]) -> str | None:
        """The name of something at the root that is not in `known`; None if there is nothing."""

    def work_folder(self, run_id: str) -> Path:
        """A local folder for the unfinished files of a run, on the store's file system if it has one."""

    def clean_up(self, run_id: str) -> None:
        """Remove what run `run_id` left unfinished, and what runs known to be dead left."""

    def leftovers(self) -> list[StoredFile]:
        """What runs left unfinished: no part of the dataset. Some may still be in the making."""

    def discard(self, leftover: StoredFile) -> None:
        """Remove one of `leftovers`; nothing happens if it is gone."""
