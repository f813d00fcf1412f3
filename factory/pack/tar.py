"""Reproducible tar shards: USTAR headers, fixed owner and mode, time 0, SHA-256 while writing.

webdataset's own writer sorts a sample's members by name and writes the wall-clock time by default;
here headers come from the standard library, and members keep the documented order.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_BLOCK = 512
# tar's default blocking factor: archives end at a multiple of 20 blocks, as GNU tar and tarfile
# write them.
_RECORD = 20 * _BLOCK
MOST_FILE_BYTES = 2**27
"""Of a file in a shard: twice what the largest image takes in memory. With holes, more takes no room on
a disk, and all memory once it is read."""


@dataclass(frozen=True, slots=True)
class PackedShard:
    """A finished tar on local disk."""

    size_bytes: int
    sha256: str
    num_members: int


class ShardWriter:
    """Writes one tar. Leaving the context without `finish` removes the file."""

    def __init__(self, path: Path) -> None:
        """Create a new tar at `path`."""
        self.path = path
        self._file = path.open("xb", buffering=1 << 20)
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._num_members = 0
        self._finished = False

    def __enter__(self) -> "ShardWriter":
        """Return the writer; the file is already open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, and remove it unless it was finished."""
        if self._finished:
            return
        self.path.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:
            return  # on a full disk the last flush fails; the file has been removed already

    def add(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Append files, each as (name, bytes). Names are plain ASCII of at most 100 characters."""
        self._write(encode_files(files))
        self._num_members += len(files)

    def finish(self) -> PackedShard:
        """Write the end of the archive and sync it to disk."""
        self._write(encode_end(self._size_bytes))
        # Before the shard is published: a receipt must never refer to bytes that a power cut can
        # lose.
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._finished = True
        return PackedShard(self._size_bytes, self._hash.hexdigest(), self._num_members)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size_bytes += len(data)


def encode_files(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Encode files, each as (name, bytes), as tar members. Names have at most 100 characters."""
    pieces = []
    for name, data in files:
        pieces += [_header(name, len(data)), data, bytes(-len(data) % _BLOCK)]
    return b"".join(pieces)


def encode_end(size_bytes: int) -> bytes:
    """The end-of-archive padding after `size_bytes` of members."""
    return bytes(2 * _BLOCK + -(size_bytes + 2 * _BLOCK) % _RECORD)


def _make_template() -> bytes:
    member = tarfile.TarInfo()
    member.mode = 0o644
    member.uname = member.gname = "factory"
    return member.tobuf(tarfile.USTAR_FORMAT)


_TEMPLATE = _make_template()
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)
_TYPE, _PREFIX = 156, slice(345, 500)


def _header(name: str, size_bytes: int) -> bytes:
    """A USTAR header: a template of the standard library with name, size and checksum patched.

    Building each header with the standard library takes as long as encoding a small mask.
    """
    header = bytearray(_TEMPLATE)
    encoded = name.encode("ascii")
    if len(encoded) > 100 or size_bytes > MOST_FILE_BYTES:
        raise ValueError(
            f"{name}: {size_bytes:,} bytes; a file has at most 100 characters and {MOST_FILE_BYTES:,}"
        )
    header[: len(encoded)] = encoded
    header[_SIZE] = b"%011o\0" % size_bytes
    # The checksum is the sum of the header's bytes with its own field counted as spaces.
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a tar."""

    name: str
    """Its name."""
    offset: int
    """Where its bytes begin in the tar."""
    size_bytes: int
    """How many there are."""

    @property
    def key(self) -> str:
        """The sample it belongs to: its name up to the first dot."""
        return self.name.partition(".")[0]

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.offset + self.size_bytes + -self.size_bytes % _BLOCK


def list_members(file: BinaryIO) -> Iterator[Member]:
    """The files of a shard's tar in order, from its headers alone; `file` stands at its beginning.

    Stricter than the standard library, because a shard is ours and a reader must not believe it: only
    ordinary files, whose sizes fit what is left of the tar, and the archive's end must be there. A
    tar that was cut is an error, never a shorter tar.

    Raises:
        ValueError: If the tar ends early, a header is damaged, or a member is not an ordinary file.
    """
    total = file.seek(0, os.SEEK_END)
    place = 0
    while True:
        file.seek(place)
        header = file.read(_BLOCK)
        if not any(header):
            _check_end(header, file.read(_BLOCK), place)
            return
        member = parse_header(header, place)
        if member.offset + member.size_bytes > total:
            held = total - member.offset
            raise ValueError(f"{member.name} ends after {held} of {member.size_bytes} bytes")
        yield member
        place = member.end


def read_member(file: BinaryIO, member: Member) -> bytes:
    """The bytes of a file of a tar.

    Raises:
        ValueError: If the tar ends before them.
    """
    file.seek(member.offset)
    data = file.read(member.size_bytes)
    if len(data) != member.size_bytes:
        raise ValueError(f"{member.name} ends after {len(data)} of {member.size_bytes} bytes")
    return data


def read_members(path: Path, endings: tuple[str, ...] = ("",)) -> Iterator[tuple[str, bytes]]:
    """Every file of a shard's tar whose name has one of `endings`, in order, as (name, bytes).

    Other files are skipped, not read.

    Raises:
        ValueError: As `list_members`.
    """
    with path.open("rb") as file:
        for member in list_members(file):
            if member.name.endswith(endings):
                yield member.name, read_member(file, member)


def parse_header(header: bytes, place: int) -> Member:
    """Parse the header at byte `place` of a tar.

    Raises:
        ValueError: If it is damaged, or that of something else than an ordinary file.
    """
    if len(header) < _BLOCK:
        raise ValueError(f"not a whole tar (it ends at byte {place + len(header)}, in a header)")
    summed = sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")
    try:
        name = header[:100].rstrip(b"\0").decode("ascii")
        size_bytes = int(header[_SIZE].rstrip(b"\0 "), 8)
        checksum = int(header[_CHECKSUM].split(b"\0")[0], 8)
    except ValueError as error:
        raise ValueError(f"not a whole tar (a damaged header at byte {place})") from error
    if checksum != summed or not name or size_bytes < 0:
        raise ValueError(f"not a whole tar (a damaged header at byte {place})")
    if header[_TYPE] not in b"0\0" or any(header[_PREFIX]):
        raise ValueError(f"{name} is not an ordinary file; shards hold nothing else")
    if size_bytes > MOST_FILE_BYTES:
        raise ValueError(f"{name} has {size_bytes:,} bytes; at most {MOST_FILE_BYTES:,} are read")
    return Member(name, place + _BLOCK, size_bytes)


def _check_end(first: bytes, second: bytes, place: int) -> None:
    if len(first) < _BLOCK or len(second) < _BLOCK or any(second):
        raise ValueError(f"not a whole tar (it ends at byte {place}, without an end of archive)")
