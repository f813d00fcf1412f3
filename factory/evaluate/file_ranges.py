"""Byte ranges of pictures in files: members of tars and files of a folder are read in the same way."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.errors import JobError
from factory.pack.archives import MOST_BYTES, read_archive


@dataclass(frozen=True, slots=True)
class FileRange:
    """The byte range of a picture in a file."""

    file: Path
    """The file."""
    offset: int
    """Where it begins."""
    size_bytes: int
    """Its length."""

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            ValueError: If there are more of them than any picture has.
            OSError: If they cannot be read.
        """
        if self.size_bytes > MOST_BYTES:
            raise ValueError(f"{self.size_bytes:,} bytes large; at most {MOST_BYTES:,} are read")
        with self.file.open("rb") as file:
            return os.pread(file.fileno(), self.size_bytes, self.offset)


def whole_file(path: Path) -> FileRange:
    """All of a file."""
    return FileRange(path, 0, path.stat().st_size)


def in_tars(
    tars: Sequence[Path], endings: tuple[str, ...], option: str
) -> list[tuple[str, FileRange]]:
    """Names and byte ranges of the members with one of `endings`; `option` names the tars in errors.

    Raises:
        JobError: If a tar is compressed or damaged, or a member is no plain file.
    """
    found = []
    for path in tars:
        try:
            for member in read_archive(path):
                if is_hidden(member.name) or not member.name.endswith(endings):
                    continue
                if member.oddity or member.offset is None:
                    why = member.oddity or "compressed"
                    raise ValueError(
                        f"{member.name} in it is {why}; pack plain files into a plain tar"
                    )
                found.append((member.name, FileRange(path, member.offset, member.size_bytes)))
        except ValueError as error:
            raise JobError(f"{option}: {path}: {error}; it must not be compressed") from error
    return found


def is_hidden(name: str) -> bool:
    """Whether a file or a folder on its way begins with a dot, as those of file browsers do."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
