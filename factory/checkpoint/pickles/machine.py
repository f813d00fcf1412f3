"""A pickle interpreter that only builds data: no import, no call, no attribute access.

It implements the opcodes that checkpoints use and rejects every other one by name and byte offset.
Allowed globals are listed in `names.py` and constructed in `constructors.py`. Opcode names are those
of Python's `pickletools`.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from factory.checkpoint.pickles.constructors import CallSite, build, make, make_instance
from factory.checkpoint.pickles.names import find_token, is_hostile, is_own_class
from factory.checkpoint.pickles.nodes import ByteRange, Kind, PickledSet, Storage, Token
from factory.checkpoint.pickles.source import (
    GET_AGAIN,
    MAX_OPCODES,
    MAX_STRING_BYTES,
    SAVE_ALONE,
    Budget,
    Stream,
    shown,
)
from factory.checkpoint.pickles.value_stack import ValueStack

_LONGEST_NAME = 256
_PROTOCOLS = range(2, 6)
_TEXT_OPCODES = frozenset(
    (
        "BINSTRING", "DICT", "FLOAT", "GET", "INT", "LIST", "LONG", "PUT", "SHORT_BINSTRING", "STRING",
        "UNICODE",
    )
)  # fmt: skip
"""Opcodes that only the first two protocols write."""
_TEXT_GLOBALS = (("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"))
_NO_TEXT = "pickles of protocol 2 to 5 are read, not the text of protocol 0 and 1"
_WRITE_AGAIN = "write your own file again with torch.save or pickle.dump(..., protocol=4)"
_STOP = ord(".")
_OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_FLOAT = struct.Struct(">d")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a stream of one kind may contain."""

    kinds: frozenset[Kind] = frozenset(Kind)
    """Kinds of globals that may occur."""
    strict: bool = False
    """Also reject globals that are tolerated but not interpreted."""
    find_storage: Callable[[object, CallSite], Storage] | None = None
    """Look up the storage of a persistent id; None where the format has none."""
    load_storage: Callable[[ByteRange, CallSite], Storage] | None = None
    """Read a storage from bytes; None where the format has none."""


class Machine:
    """Interprets one stream. Not reusable: create a new machine for the next stream."""

    def __init__(self, stream: Stream, budget: Budget, rules: Rules) -> None:
        """Interpret `stream` under `rules`, counting its cost against `budget`."""
        self._stream, self._budget, self._rules = stream, budget, rules
        self._view = stream.view
        self._position = 0
        self.values = ValueStack(stream, budget)

    def run(self, start: int = 0) -> tuple[Any, int]:
        """Return the value of the pickle at `start` and the offset after its STOP.

        Raises:
            WeightsError: If it is incomplete, or contains anything but data.
        """
        view, size, budget, values = self._view, len(self._view), self._budget, self.values
        self._position = start
        code = -1
        while code != _STOP:
            values.at = self._position
            if values.at >= size:
                values.refuse(
                    "the end of the data, without a STOP,", "a pickle is whole", GET_AGAIN
                )
            code = view[values.at]
            self._position += 1
            budget.opcodes -= 1
            if budget.opcodes < 0:
                values.refuse(f"opcode number {MAX_OPCODES + 1}", f"{MAX_OPCODES} are allowed")
            handler = _HANDLERS.get(code)
            if handler is None:
                self._refuse_opcode(code)
            try:
                handler(self)
            except IndexError:
                values.refuse("an opcode that needs more values than there are", "none may")
        return values.stack[0], self._position

    def stop(self) -> None:
        """STOP: the value is whole."""
        if self.values.below or len(self.values.stack) != 1:
            self.values.refuse("STOP with unfinished values", "one value is left at the end")

    def _refuse_opcode(self, code: int) -> NoReturn:
        name = _OPCODE_NAMES.get(code)
        if name in _TEXT_OPCODES:
            self.values.refuse(
                f"opcode {name}",
                _NO_TEXT,
                _WRITE_AGAIN,
            )
        found = f"opcode {name}" if name else f"byte 0x{code:02x}, no opcode at all,"
        self.values.refuse(found, "only the opcodes of tensors and containers are allowed")

    def _call(self) -> CallSite:
        return CallSite(self._stream, self.values.at, self._budget)

    def _skip(self, count: int) -> int:
        start = self._position
        left = len(self._view) - start
        if count > left:
            self.values.refuse(
                f"an opcode that needs {count} bytes where {left} are left",
                "a pickle is whole",
                GET_AGAIN,
            )
        self._position = start + count
        return start

    def integer(self, size: int, *, signed: bool = False) -> int:
        """The next `size` bytes as a number."""
        start = self._skip(size)
        return int.from_bytes(self._view[start : start + size], "little", signed=signed)

    def number(self, size: int, *, signed: bool = False) -> None:
        """BININT, BININT1, BININT2, LONG1."""
        self.values.stack.append(self.integer(size, signed=signed))

    def float_number(self) -> None:
        """BINFLOAT."""
        self.values.stack.append(_FLOAT.unpack_from(self._view, self._skip(_FLOAT.size))[0])

    def text(self, size: int) -> None:
        """BINUNICODE, SHORT_BINUNICODE."""
        if size > MAX_STRING_BYTES:
            self.values.refuse(f"a text of {size} bytes", f"{MAX_STRING_BYTES} are allowed")
        start = self._skip(size)
        self._budget.text_bytes -= size
        if self._budget.text_bytes < 0:
            self.values.refuse("more text than all limits together", "texts are names and source")
        try:
            self.values.stack.append(str(self._view[start : start + size], "utf-8"))
        except UnicodeDecodeError:
            self.values.refuse("a text that is not UTF-8", "texts are UTF-8", GET_AGAIN)

    def blob(self, size: int) -> None:
        """BINBYTES, SHORT_BINBYTES, BINBYTES8."""
        start = self._skip(size)
        self.values.push(ByteRange(self._stream, start, start + size), 0)

    def line(self) -> str:
        """The next line of text; GLOBAL has two."""
        window = bytes(self._view[self._position : self._position + _LONGEST_NAME])
        line, newline, _ = window.partition(b"\n")
        if not newline:
            found = f"names have less than {_LONGEST_NAME} bytes"
            self.values.refuse("a name without an end", found)
        self._position += len(line) + 1
        return line.decode("utf-8", "backslashreplace")

    def name(self, module: object, attribute: object) -> None:
        """GLOBAL, STACK_GLOBAL: an allowed global, by name only."""
        token = None
        if isinstance(module, str) and isinstance(attribute, str):
            token = find_token(module, attribute, strict=self._rules.strict)
        if token is None:
            self._refuse_global(str(module), str(attribute))
        if token.kind not in self._rules.kinds:
            self.values.refuse(f"the global {token}", "it is not allowed in this part of a file")
        self.values.push(token, 0)

    def _refuse_global(self, module: str, attribute: str) -> NoReturn:
        found = f"the global {shown(f'{module}.{attribute}')}"
        allowed = "a checkpoint may name tensors, containers and network records only"
        if (module, attribute) in _TEXT_GLOBALS:
            self.values.refuse(found, _NO_TEXT, _WRITE_AGAIN)
        if is_own_class(module, attribute):
            mine = f"it is a class of the program that wrote the file, and {allowed}"
            self.values.refuse(found, mine, SAVE_ALONE)
        hostile = ", a hostile request," if is_hostile(module) else ""
        self.values.refuse(f"{found}{hostile}", allowed)

    def reduce(self) -> None:
        """REDUCE: construct the value of an allowed global from its arguments."""
        token, args = self.values.pop_two()
        if not isinstance(token, Token) or not isinstance(args, tuple):
            self.values.refuse("REDUCE of something that is no known global", "only those are made")
        if token.kind is Kind.STORAGE_BYTES:
            made: object = self._storage_of_bytes(args)
        else:
            made = make(token, args, self._call())
            if isinstance(made, dict):
                for key in made:
                    self.values.check_key(key)
        self.values.push(made, 1 + self.values.depth(args))

    def _storage_of_bytes(self, args: tuple[Any, ...]) -> Storage:
        load = self._rules.load_storage
        if load is None or len(args) != 1 or not isinstance(args[0], ByteRange):
            allowed = "it reads bytes, in NVIDIA pickles only"
            self.values.refuse("torch.storage._load_from_bytes", allowed)
        return load(args[0], self._call())

    def new_object(self) -> None:
        """NEWOBJ: an empty object of an allowed class."""
        token, args = self.values.pop_two()
        made = make_instance(token, args, self._call())
        self.values.push(made, 1 + self.values.depth(args))

    def build(self) -> None:
        """BUILD: set the state of an object."""
        state = self.values.stack.pop()
        build(self.values.stack[-1], state, self._call())
        self.values.note_members(self.values.stack[-1], [state])

    def persistent_id(self) -> None:
        """BINPERSID: a storage of a torch file."""
        find = self._rules.find_storage
        if find is None:
            allowed = "it occurs only inside files written by torch.save"
            self.values.refuse("opcode BINPERSID", allowed)
        self.values.push(find(self.values.stack.pop(), self._call()), 0)

    def protocol(self) -> None:
        """PROTO."""
        version = self.integer(1)
        if version not in _PROTOCOLS:
            self.values.refuse(f"pickle protocol {version}", "protocols 2 to 5 are allowed")

    def frame(self) -> None:
        """FRAME."""
        size = self.integer(8)
        if size > len(self._view) - self._position:
            found = f"a frame of {size} bytes, more than are left,"
            self.values.refuse(found, "frames fit", GET_AGAIN)


_HANDLERS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.protocol,
    0x95: Machine.frame,
    ord("."): Machine.stop,
    ord("("): lambda m: m.values.mark(),
    ord("}"): lambda m: m.values.push({}, 1),  # EMPTY_DICT
    ord("]"): lambda m: m.values.push([], 1),  # EMPTY_LIST
    ord(")"): lambda m: m.values.push((), 1),  # EMPTY_TUPLE
    0x8F: lambda m: m.values.push(PickledSet([]), 1),  # EMPTY_SET
    ord("t"): lambda m: m.values.put_tuple(m.values.pop_mark()),  # TUPLE
    0x85: lambda m: m.values.put_short_tuple(1),  # TUPLE1
    0x86: lambda m: m.values.put_short_tuple(2),  # TUPLE2
    0x87: lambda m: m.values.put_short_tuple(3),  # TUPLE3
    ord("s"): lambda m: m.values.set_items(m.values.pop_two()),  # SETITEM
    ord("u"): lambda m: m.values.set_items(m.values.pop_mark()),  # SETITEMS
    ord("a"): lambda m: m.values.append([m.values.stack.pop()]),  # APPEND
    ord("e"): lambda m: m.values.append(m.values.pop_mark()),  # APPENDS
    0x90: lambda m: m.values.add_items(m.values.pop_mark()),  # ADDITEMS
    ord("N"): lambda m: m.values.stack.append(None),  # NONE
    0x88: lambda m: m.values.stack.append(True),  # NEWTRUE
    0x89: lambda m: m.values.stack.append(False),  # NEWFALSE
    ord("J"): lambda m: m.number(4, signed=True),  # BININT
    ord("K"): lambda m: m.number(1),  # BININT1
    ord("M"): lambda m: m.number(2),  # BININT2
    0x8A: lambda m: m.number(m.integer(1), signed=True),  # LONG1
    ord("G"): Machine.float_number,
    0x8C: lambda m: m.text(m.integer(1)),  # SHORT_BINUNICODE
    ord("X"): lambda m: m.text(m.integer(4)),  # BINUNICODE
    ord("C"): lambda m: m.blob(m.integer(1)),  # SHORT_BINBYTES
    ord("B"): lambda m: m.blob(m.integer(4)),  # BINBYTES
    0x8E: lambda m: m.blob(m.integer(8)),  # BINBYTES8
    0x96: lambda m: m.blob(m.integer(8)),  # BYTEARRAY8: the numbers of NumPy arrays of protocol 5
    ord("q"): lambda m: m.values.put_memo(m.integer(1)),  # BINPUT
    ord("r"): lambda m: m.values.put_memo(m.integer(4)),  # LONG_BINPUT
    0x94: lambda m: m.values.put_memo(len(m.values.memo)),  # MEMOIZE
    ord("h"): lambda m: m.values.get_memo(m.integer(1)),  # BINGET
    ord("j"): lambda m: m.values.get_memo(m.integer(4)),  # LONG_BINGET
    ord("c"): lambda m: m.name(m.line(), m.line()),  # GLOBAL
    0x93: lambda m: m.name(*m.values.pop_two()),  # STACK_GLOBAL
    ord("R"): Machine.reduce,
    0x81: Machine.new_object,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent_id,
}
