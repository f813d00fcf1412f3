"""The legacy torch.save format (before zip files): five small pickles, then raw storages.

It is a file format of its own (old `.pt`), and NVIDIA's pickles contain one such stream per tensor.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

import torch

from factory.checkpoint.pickles.constructors import CallSite
from factory.checkpoint.pickles.machine import Machine, Rules
from factory.checkpoint.pickles.nodes import ByteRange, Kind, Storage, Token
from factory.checkpoint.pickles.source import DISTRUST, GET_AGAIN, Budget, Stream, shown

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The first pickle of such a stream, as bytes."""

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_HEADER_KINDS: frozenset[Kind] = frozenset()
_NESTED_KINDS = frozenset({Kind.STORAGE_TYPE, Kind.ORDERED_DICT})
_LONGEST_KEY = 64
_COUNT = struct.Struct("<q")


@dataclass(slots=True)
class StorageTable:
    """Storages referenced by a stream so far, by key."""

    by_key: dict[str, Storage] = field(default_factory=dict)

    def find(self, persistent_id: object, call: CallSite) -> Storage:
        """Look up the storage of `persistent_id`; its device is ignored.

        Raises:
            WeightsError: If it is not the id of a whole storage.
        """
        match persistent_id:
            case (
                "storage", Token(kind=Kind.STORAGE_TYPE, dtype=torch.dtype() as dtype), str(key),
                str(), int(numel),
            ) | (
                "storage", Token(kind=Kind.STORAGE_TYPE, dtype=torch.dtype() as dtype), str(key),
                str(), int(numel), None,
            ) if type(numel) is int and 0 <= numel < 2**48 and len(key) <= _LONGEST_KEY:  # fmt: skip
                storage = self.by_key.setdefault(key, Storage(dtype, numel, key))
                if (storage.dtype, storage.numel) == (dtype, numel):
                    return storage
                raise call.refusal(
                    f"storage {shown(key)} with two types or sizes", "a storage has one of each"
                )
        raise call.refusal(
            "a persistent id that is no storage", "('storage', type, key, place, count)"
        )


def load_storage(blob: ByteRange, call: CallSite) -> Storage:
    """Read the storage in `blob`, which is a complete torch stream of its own.

    Raises:
        WeightsError: If it contains anything but one storage of exactly the stated length.
    """
    if call.stream.nested:
        raise call.refusal("a stream inside a stream inside a stream", "one level is allowed")
    inside = f" of the storage blob {blob.stream.at(blob.start)}"
    stream = Stream(blob.view(), blob.stream.file, inside, nested=True)
    found = read_torch_stream(stream, call.budget, Rules(_NESTED_KINDS))
    if not isinstance(found, Storage):
        stream.refuse(
            f"a {type(found).__name__} instead of a storage", 0, "one storage is allowed", DISTRUST
        )
    return found


def read_torch_stream(stream: Stream, budget: Budget, rules: Rules) -> object:
    """Read the object in the stream; every storage is located and its length validated.

    Args:
        stream: From the magic number to the last byte.
        budget: Limits that all of it counts against.
        rules: For the pickle of the object itself.

    Raises:
        WeightsError: If it is incomplete, or contains anything but data.
    """
    position = _read_header(stream, budget)
    table = StorageTable()
    object_rules = Rules(rules.kinds, rules.strict, find_storage=table.find)
    found, position = Machine(stream, budget, object_rules).run(position)
    keys_at = position
    keys, position = Machine(stream, budget, Rules(_HEADER_KINDS)).run(position)
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(table.by_key)
    ):
        stream.refuse("a list of storages that is not that of the tensors", keys_at,
                      "each storage is listed once", GET_AGAIN)  # fmt: skip
    for key in keys:
        position = _read_storage(stream, position, table.by_key[key])
    if position != len(stream.view):
        stream.refuse(
            f"{len(stream.view) - position} bytes behind the last storage", position,
            "the stream ends there", GET_AGAIN,
        )  # fmt: skip
    return found


def _read_header(stream: Stream, budget: Budget) -> int:
    position = 0
    values: list[Any] = []
    starts = []
    for _ in range(3):
        starts.append(position)
        value, position = Machine(stream, budget, Rules(_HEADER_KINDS)).run(position)
        values.append(value)
    if values[0] != _MAGIC_NUMBER:
        stream.refuse("another magic number", 0, "a torch stream has torch's", DISTRUST)
    if values[1] != _PROTOCOL:
        stream.refuse(f"torch protocol {shown(values[1])}", starts[1], f"{_PROTOCOL} is allowed",
                      GET_AGAIN)  # fmt: skip
    if not isinstance(values[2], dict) or values[2].get("little_endian") is not True:
        stream.refuse("a stream that is not little-endian", starts[2], "little-endian is allowed",
                      "save it again on an ordinary machine")  # fmt: skip
    return position


def _read_storage(stream: Stream, position: int, storage: Storage) -> int:
    start = position + _COUNT.size
    stop = start + storage.numel * storage.dtype.itemsize
    if start > len(stream.view) or stop > len(stream.view):
        stream.refuse(
            f"storage {shown(storage.key)} of {storage.numel} elements, cut off,", position,
            "storages are whole", GET_AGAIN,
        )  # fmt: skip
    (count,) = _COUNT.unpack_from(stream.view, position)
    if count != storage.numel:
        stream.refuse(
            f"storage {shown(storage.key)} of {count} elements, announced as {storage.numel},",
            position, "both numbers agree", DISTRUST,
        )  # fmt: skip
    storage.data = stream.view[start:stop]
    return stop
