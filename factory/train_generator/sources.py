"""Find the files of training pictures: in a folder, a tar, a zip, or shards as a brace range."""

import itertools
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from factory.errors import JobError, kind_in_words
from factory.pack.archives import MOST_BYTES, Member, read_archive
from factory.store.addresses import local_path

WHERE = "images.uri"
"""What errors call the setting that names the pictures."""

_BRACES = re.compile(r"\{([0-9]{1,12})\.\.([0-9]{1,12})\}")
_MOST_SHARDS = 100_000


def find_files(uri: str) -> Iterator[Member]:
    """Iterate over the files at `uri`; names of hidden files and folders are left out.

    Links in a folder are followed, and those in an archive come with their oddity. Of several
    archives, a file's name holds that of its archive.

    Raises:
        JobError: If there is nothing, something cannot be read, or a link leads around in a circle.
    """
    try:
        root = local_path(uri)
    except ValueError as error:
        raise JobError(f"{WHERE}: {error}") from error
    if root is None:
        raise JobError(
            f"{WHERE}: found {uri}; pictures are read from this machine: fetch them, then give a "
            "folder, a tar or a zip"
        )
    members = _in_folder(root) if root.is_dir() else _in_archives(str(root))
    return (member for member in members if not _is_hidden(member.name))


def _is_hidden(name: str) -> bool:
    """Whether a file or a folder on its way begins with a dot, as those of file browsers do."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _in_folder(root: Path) -> Iterator[Member]:
    """Every file below a folder, in the order of their names."""
    here = root.resolve()
    for path in _walk(root, {_identity(folder) for folder in (here, *here.parents)}):
        try:
            facts = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        if stat.S_ISREG(facts.st_mode):
            size = facts.st_size
            oddity = f"{size:,} bytes large" if size > MOST_BYTES else ""
            name = path.relative_to(root).as_posix()
            yield Member(name, size, 0, partial(_read_file, path), oddity)


def _walk(folder: Path, above: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and not path.exists():
            raise JobError(
                f"{WHERE}: {path} is a link to something that is not there; mend it or remove it"
            )
        if not entry.is_dir():
            yield path
            continue
        identity = _identity(path)
        if identity in above:
            raise JobError(
                f"{WHERE}: {path} is a link to a folder that it lies in itself; remove it"
            )
        yield from _walk(path, above | {identity})


def _identity(folder: Path) -> tuple[int, int]:
    try:
        facts = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    return facts.st_dev, facts.st_ino


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> JobError:
    reason = (error.strerror or kind_in_words(error)).lower()
    return JobError(f"{WHERE}: {path}: {reason}; make it readable or take it out")


def _in_archives(pattern: str) -> Iterator[Member]:
    shards = expand_range(pattern)
    for shard in shards:
        if not shard.exists():
            raise JobError(f"{WHERE}: nothing at {shard}; give a folder, tar files or a zip")
        if not shard.is_file():
            raise JobError(
                f"{WHERE}: {shard} is a device, a pipe or a folder; a range is of tar files"
            )
        prefix = f"{shard.stem}:" if len(shards) > 1 else ""
        try:
            for member in read_archive(shard):
                parent, _, base = member.name.rpartition("/")
                if _is_hidden(base):
                    continue
                yield Member(
                    f"{parent}/{prefix}{base}".removeprefix("./").lstrip("/"),
                    member.size_bytes,
                    member.offset,
                    partial(_read_member, member, shard),
                    member.oddity,
                )
        except ValueError as error:
            raise _broken(shard, error) from error


def _read_member(member: Member, shard: Path) -> bytes:
    try:
        return member.read()
    except ValueError as error:
        raise _broken(shard, error) from error


def _broken(shard: Path, error: ValueError) -> JobError:
    return JobError(f"{WHERE}: {shard} is {error}; get it again")


def expand_range(pattern: str) -> list[Path]:
    """The files of a brace range, e.g. `a-{00..11}.tar`; numbers have as many digits as the first.

    Raises:
        JobError: If they are none, or too many.
    """
    pieces = _BRACES.split(pattern)
    ranges = [
        (first, int(first), int(last))
        for first, last in zip(pieces[1::3], pieces[2::3], strict=True)
    ]
    count = 1
    for _, first, last in ranges:
        count *= max(0, last - first + 1)
    if not 1 <= count <= _MOST_SHARDS:
        raise JobError(
            f"{WHERE}: {pattern} is a range of {count:,} files; allowed: 1 to {_MOST_SHARDS:,}"
        )
    numbers = [
        [f"{number:0{len(text)}d}" for number in range(first, last + 1)]
        for text, first, last in ranges
    ]
    found = []
    for chosen in itertools.product(*numbers):
        parts = [part for pair in zip(pieces[::3], chosen, strict=False) for part in pair]
        found.append(Path("".join([*parts, pieces[-1]])))
    return found
