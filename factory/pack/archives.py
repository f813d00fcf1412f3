"""Read tar and zip archives that others made: ordinary members, of bounded size, whole or refused.

A member that is a link, a device or a sparse file is never read: the first would leave the archive,
the last can claim to be larger than any disk.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

from factory.errors import kind_in_words

MOST_BYTES = 2**28
"""Of one member: no picture of a size that is read takes more."""

_MOST_HEADER = 2**20  # a name or a set of attributes that the standard library reads in one piece
_MOST_GROWTH, _SMALL = 200, 2**26
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError, OverflowError, MemoryError,
)  # fmt: skip
"""What the standard library raises for archives that are not as they should be."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    """As the archive has it, with `/` between folders."""
    size_bytes: int
    """Its size, as the archive says."""
    offset: int | None
    """Where its bytes lie in the archive; None if they are compressed."""
    read: Callable[[], bytes]
    """Reads it; only before the next member is asked for."""
    oddity: str = ""
    """Why it cannot be read, e.g. `a link`; empty if it can."""


def read_archive(path: Path) -> Iterator[Member]:
    """Every file in a tar (compressed or not) or a zip, in its order; folders are left out.

    Raises:
        ValueError: If it is neither, or not whole; one line without the archive's name.
    """
    try:
        with path.open("rb") as file:
            head = file.read(6)
        if head.startswith(_ZIPS):
            yield from _of_zip(path)
        else:
            yield from _of_tar(path, head)
    except _BROKEN as error:
        raise ValueError(f"not a whole tar or zip ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or kind_in_words(error)


def _of_zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            oddity = "encrypted" if entry.flag_bits & 1 else ""
            if stat.S_ISLNK(entry.external_attr >> 16):
                oddity = "a link"
            yield Member(
                entry.filename,
                entry.file_size,
                None,
                partial(_read, partial(archive.open, entry), entry.file_size),
                oddity or _too_large(entry.file_size),
            )


def _of_tar(path: Path, head: bytes) -> Iterator[Member]:
    is_whole = False

    class Header(tarfile.TarInfo):
        """Notes the end of the archive, which the library takes any damage for."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
            nonlocal is_whole
            is_whole = len(buf) == tarfile.BLOCKSIZE and not any(buf)
            found = super().frombuf(buf, encoding, errors)
            is_about_the_next = found.type in (*_ATTRIBUTES, *_LONG_NAMES)
            if is_about_the_next and found.size > _MOST_HEADER:
                raise tarfile.ReadError(f"a name or attribute of {found.size:,} bytes")
            return found

    with (
        _plain(path, head) as (file, mode),
        tarfile.open(fileobj=file, mode=mode, tarinfo=Header) as tar,  # type: ignore[call-overload]
    ):
        for entry in tar:
            if entry.isdir():
                continue
            oddity = _oddity(entry) or _too_large(entry.size)
            offset = entry.offset_data if mode == "r:" and not oddity else None
            read = partial(_read, partial(tar.extractfile, entry), entry.size)
            yield Member(entry.name, entry.size, offset, read, oddity)
    if not is_whole:
        raise ValueError("it ends early, or a header in it is damaged")


_ATTRIBUTES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


@contextmanager
def _plain(path: Path, head: bytes) -> Iterator[tuple["BufferedIOBase | _Bounded", str]]:
    """The tar's own bytes, and how the library is to read them."""
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            most = path.stat().st_size * _MOST_GROWTH + _SMALL
            with opener(path) as compressed:
                yield _Bounded(compressed, most), "r|"
            return
    with path.open("rb") as file:
        yield file, "r:"


class _Bounded:
    """A stream that gives up before it has given more than `most` bytes."""

    def __init__(self, source: BufferedIOBase, most: int) -> None:
        self._source, self._left = source, most

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"it unpacks to more than {_MOST_GROWTH} times its size; unpack it first")
        return data


def _oddity(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return "a link"
    if entry.issparse():
        return "a sparse file"
    return "" if entry.isreg() else "a device or a pipe"


def _too_large(size_bytes: int) -> str:
    return f"{size_bytes:,} bytes large, at most {MOST_BYTES:,} are read" * (
        size_bytes > MOST_BYTES
    )


def _read(open_member: Callable[[], IO[bytes] | None], size_bytes: int) -> bytes:
    try:
        file = open_member()
        if file is None:
            raise ValueError("a member without content")
        with file:
            data = file.read(MOST_BYTES + 1)
        if len(data) != size_bytes:
            raise ValueError(f"a member ends after {len(data):,} of {size_bytes:,} bytes")
    except _BROKEN as error:
        raise ValueError(f"not a whole tar or zip ({_first_line(error)})") from error
    return data
