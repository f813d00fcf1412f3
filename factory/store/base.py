"""The protocol of a store: writes are atomic, and a file that was created is immutable.

`create` and `publish` are exclusive: of two concurrent writers exactly one succeeds. `replace` is for
views that can be rebuilt. All paths are relative to the dataset's root and use `/`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

TEMPORARY = "tmp"
"""Folder for unfinished files of runs; a bucket has incomplete multipart uploads instead."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store, or an unfinished file or upload."""

    path: str
    """Relative to the dataset's root."""
    size_bytes: int
    """Its size; 0 if unknown."""
    changed_at: float
    """Time of the last write in seconds since 1970, by the store's clock."""
    upload_id: str = ""
    """Id of an incomplete multipart upload; empty for a file."""


@runtime_checkable
class BinaryFile(Protocol):
    """An open file of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes; all that are left by default."""

    def readinto(self, buffer: bytearray, /) -> int:
        """Read into a buffer; returns the number of bytes."""

    def readable(self) -> bool:
        """Whether it can be read."""

    def write(self, data: bytes, /) -> int:
        """Write bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place; returns it."""

    def tell(self) -> int:
        """The place."""


@runtime_checkable
class Store(Protocol):
    """The files of one dataset. Every method raises `StoreError` if the store fails."""

    uri: str
    """Location, for messages."""

    def create(self, path: str, data: bytes) -> bool:
        """Create a file atomically; False (and no change) if it exists."""

    def publish(self, path: str, file: Path) -> bool:
        """Move a finished local file to `path` atomically; False (and no change) if that exists."""

    def replace(self, path: str, data: bytes | BinaryFile) -> None:
        """Write or overwrite a file atomically with `data`, or with all of an open file."""

    def read(self, path: str) -> bytes | None:
        """Read a file; None if it does not exist."""

    def read_part(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """Read a part of a file, less where the file ends; None if it does not exist."""

    def fetch(self, path: str) -> AbstractContextManager[Path | None]:
        """Context manager for a local copy of a file; None if it does not exist."""

    def size_of(self, path: str) -> int | None:
        """A file's size in bytes; None if it does not exist."""

    def remove(self, path: str) -> None:
        """Delete a file; idempotent."""

    def names(self, folder: str, splits: Sequence[str] = ()) -> list[str]:
        """Paths of all files below `folder`, sorted; empty if there are none.

        `splits` are sorted paths below `folder` at which a long listing may be divided, so that its
        parts are fetched concurrently.
        """

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below `folder` with size and time, sorted by path, as they are listed."""

    def find_foreign_entry(self, known: Collection[str]) -> str | None:
        """The name of an entry at the root that is not in `known`; None if there is none."""

    def work_folder(self, run_id: str) -> Path:
        """A local folder for the unfinished files of a run, on the store's file system if possible."""

    def clean_up(self, run_id: str) -> None:
        """Remove unfinished files of run `run_id` and of runs known to be dead."""

    def leftovers(self) -> list[StoredFile]:
        """Unfinished files and uploads of all runs; some runs may still be writing theirs."""

    def discard(self, leftover: StoredFile) -> None:
        """Remove one of `leftovers`; idempotent."""
