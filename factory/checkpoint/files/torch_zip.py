"""Zip files written by torch.save: uncompressed entries only, names validated, nothing extracted.

The directory is read here and not by `zipfile`, so that every error has a byte offset and entries
stay views of the file. Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

import struct
from dataclasses import dataclass

from factory.checkpoint.files.torch_stream import StorageTable
from factory.checkpoint.pickles.constructors import CallSite
from factory.checkpoint.pickles.machine import Machine, Rules
from factory.checkpoint.pickles.nodes import Storage
from factory.checkpoint.pickles.source import DISTRUST, GET_AGAIN, Budget, Stream, shown

_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\5\6"
_END64_PLACE = struct.Struct("<4sLQL")
_END64_PLACE_MAGIC = b"PK\6\7"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MAGIC = b"PK\6\6"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_MAGIC = b"PK\1\2"
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC = b"PK\3\4"
_EXTRA = struct.Struct("<2H")
_EXTRA_ZIP64 = 1
_ALL_ONES = 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_LONGEST_COMMENT = 0xFFFF
_MOST_ENTRIES = 100_000
_STORED = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the directory."""

    name: str
    method: int
    flags: int
    packed: int
    size: int
    local: int
    at: int
    """Offset of its description in the directory."""


def read_torch_zip(stream: Stream, budget: Budget, rules: Rules) -> object:
    """Read the object that torch.save wrote into this zip file.

    Raises:
        WeightsError: If it is not a complete torch zip file, or contains anything but data.
    """
    entries = _read_directory(stream)
    parts = {name: _contents(stream, entry) for name, entry in entries.items()}
    pickles = [name for name in parts if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        stream.refuse(f"a zip with {len(pickles)} files */data.pkl", 0,
                      "a zip of torch.save has one", "give a file that torch.save wrote")  # fmt: skip
    prefix = pickles[0].removesuffix("data.pkl")
    stranger = next((name for name in parts if not name.startswith(prefix)), None)
    if stranger is not None:
        stream.refuse(f"the zip entry {shown(stranger)}", entries[stranger].at,
                      f"entries begin with {shown(prefix)}", DISTRUST)  # fmt: skip
    order = bytes(parts.get(f"{prefix}byteorder", memoryview(b"little"))[:16])
    if order.strip() != b"little":
        stream.refuse(f"the byte order {shown(order.decode('latin-1'))}",
                      entries[f"{prefix}byteorder"].at, "little is allowed",
                      "save it again on an ordinary machine")  # fmt: skip
    storages = _ZipStorages(parts, f"{prefix}data/")
    inside = f" of {shown(pickles[0])} in the zip"
    pickle = Stream(parts[pickles[0]], stream.file, inside)
    machine = Machine(pickle, budget, Rules(rules.kinds, rules.strict, storages.find))
    found, end = machine.run()
    if end != len(pickle.view):
        pickle.refuse("bytes behind the pickle", end, "it ends there", DISTRUST)
    return found


@dataclass(slots=True)
class _ZipStorages:
    """Storages as separate zip entries."""

    parts: dict[str, memoryview]
    folder: str

    def __post_init__(self) -> None:
        self._table = StorageTable()

    def find(self, persistent_id: object, call: CallSite) -> Storage:
        """Look up the storage of `persistent_id`, with its bytes."""
        storage = self._table.find(persistent_id, call)
        if storage.data is None:
            data = self.parts.get(self.folder + storage.key)
            if data is None or len(data) != storage.numel * storage.dtype.itemsize:
                found = "no entry" if data is None else f"{len(data)} bytes"
                raise call.refusal(
                    f"storage {shown(storage.key)} of {storage.numel} elements with {found}",
                    "the zip has one entry of exactly that size",
                )
            storage.data = data
        return storage

    _table: StorageTable = None  # type: ignore[assignment]  # set in __post_init__


def _read_directory(stream: Stream) -> dict[str, _Entry]:
    count, size, start = _find_directory(stream)
    if count > _MOST_ENTRIES or start + size > len(stream.view):
        stream.refuse(f"a zip directory of {count} entries and {size} bytes", start,
                      f"{_MOST_ENTRIES} entries inside the file are allowed", DISTRUST)  # fmt: skip
    entries: dict[str, _Entry] = {}
    position = start
    for _ in range(count):
        entry, position = _read_entry(stream, position, start + size)
        _check_entry(stream, entry)
        if entry.name in entries:
            stream.refuse(f"a second zip entry {shown(entry.name)}", entry.at,
                          "names occur once", DISTRUST)  # fmt: skip
        entries[entry.name] = entry
    return entries


def _find_directory(stream: Stream) -> tuple[int, int, int]:
    view = stream.view
    tail_start = max(0, len(view) - _LONGEST_COMMENT - _END.size)
    tail = bytes(view[tail_start:])
    found = tail.rfind(_END_MAGIC)
    if found < 0 or found + _END.size > len(tail):
        stream.refuse("the end of a zip without its directory,", len(view), "a zip is whole",
                      "it is truncated: " + GET_AGAIN)  # fmt: skip
    at = tail_start + found
    _, _, _, _, count, size, start, _ = _END.unpack_from(view, at)
    place_at = at - _END64_PLACE.size
    if place_at >= 0 and bytes(view[place_at : place_at + 4]) == _END64_PLACE_MAGIC:
        _, _, end64_at, _ = _END64_PLACE.unpack_from(view, place_at)
        if (
            end64_at + _END64.size > place_at
            or bytes(view[end64_at : end64_at + 4]) != _END64_MAGIC
        ):
            stream.refuse("a zip64 locator that points nowhere", place_at,
                          "it points to the directory's end", GET_AGAIN)  # fmt: skip
        count, size, start = _END64.unpack_from(view, end64_at)[7:10]
    return count, size, start


def _read_entry(stream: Stream, at: int, end: int) -> tuple[_Entry, int]:
    if at + _ENTRY.size > end:
        stream.refuse("a zip directory that ends too early", at, "it is whole", GET_AGAIN)
    (magic, _, _, flags, method, _, _, _, packed, size, name_size, extra_size, comment_size,
     _, _, _, local) = _ENTRY.unpack_from(stream.view, at)  # fmt: skip
    name_at = at + _ENTRY.size
    extra_at = name_at + name_size
    after = extra_at + extra_size + comment_size
    if magic != _ENTRY_MAGIC or after > end:
        stream.refuse("a broken line of the zip directory", at, "it is whole", GET_AGAIN)
    name = bytes(stream.view[name_at:extra_at]).decode("utf-8", "backslashreplace")
    wide = _wide_numbers(stream.view[extra_at : extra_at + extra_size])
    numbers = []
    for number in (size, packed, local):
        if number == _ALL_ONES and not wide:
            stream.refuse("a zip64 entry without its sizes", at, "they are there", GET_AGAIN)
        numbers.append(wide.pop(0) if number == _ALL_ONES else number)
    size, packed, local = numbers
    return _Entry(name, method, flags, packed, size, local, at), after


def _wide_numbers(extra: memoryview) -> list[int]:
    position = 0
    while position + _EXTRA.size <= len(extra):
        tag, size = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        field = extra[position : position + size]
        if tag == _EXTRA_ZIP64:
            return [number for (number,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
        position += size
    return []


def _check_entry(stream: Stream, entry: _Entry) -> None:
    parts = entry.name.split("/")
    if (
        not entry.name
        or entry.name.startswith("/")
        or "\\" in entry.name
        or ":" in parts[0]
        or any(part in ("", ".", "..") or "\0" in part for part in parts)
    ):
        stream.refuse(f"the zip entry {shown(entry.name)}", entry.at,
                      "names are relative paths without '..'", DISTRUST)  # fmt: skip
    if parts[1:2] == ["code"] and len(parts) > 2 and parts[2].startswith("__torch__"):
        stream.refuse(f"a program of TorchScript, {shown(entry.name)},", entry.at,
                      "tensors are allowed: no program in a file is run",
                      "save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), "
                      "'generator.pt')")  # fmt: skip
    if entry.method != _STORED or entry.packed != entry.size:
        stream.refuse(
            f"the zip entry {shown(entry.name)} compressed with method {entry.method} "
            f"({entry.packed} to {entry.size} bytes)", entry.at,
            "torch stores its entries uncompressed", "save it again with torch.save",
        )  # fmt: skip
    if entry.flags & _ENCRYPTED:
        stream.refuse(f"the encrypted zip entry {shown(entry.name)}", entry.at,
                      "plain entries are allowed", "save it again with torch.save")  # fmt: skip


def _contents(stream: Stream, entry: _Entry) -> memoryview:
    view, at = stream.view, entry.local
    if at + _LOCAL.size > len(view) or bytes(view[at : at + 4]) != _LOCAL_MAGIC:
        stream.refuse(f"the zip entry {shown(entry.name)}, which points to byte {at},", entry.at,
                      "it points to its data", GET_AGAIN)  # fmt: skip
    fields = _LOCAL.unpack_from(view, at)
    name_size, extra_size = fields[-2:]
    start = at + _LOCAL.size + name_size + extra_size
    name = bytes(view[at + _LOCAL.size : at + _LOCAL.size + name_size])
    if name.decode("utf-8", "backslashreplace") != entry.name or fields[3] != _STORED:
        stream.refuse(f"the zip entry {shown(entry.name)} whose data has another name or method",
                      at, "directory and data agree", DISTRUST)  # fmt: skip
    if start + entry.size > len(view):
        stream.refuse(f"the zip entry {shown(entry.name)} of {entry.size} bytes, cut off,", at,
                      "entries lie inside the file", GET_AGAIN)  # fmt: skip
    return view[start : start + entry.size]
