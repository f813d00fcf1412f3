"""A pickle machine that makes data and nothing else: no import, no call, no attribute access.

It knows the opcodes that checkpoints use and refuses every other one by name and byte offset. What a
stream means by a global is decided by the tables in `names.py` and written out in `constructors.py`.
The format: Python's `pickletools`, whose names for the opcodes are used here.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from factory.checkpoint.pickles.constructors import Call, build, make, make_instance
from factory.checkpoint.pickles.names import find_token, is_hostile
from factory.checkpoint.pickles.nodes import Blob, Kind, PickledSet, Storage, Token
from factory.checkpoint.pickles.source import (
    GET_AGAIN,
    MAX_OPCODES,
    MAX_STRING_BYTES,
    Budget,
    Stream,
    shown,
)
from factory.checkpoint.pickles.workbench import ValueStore

_LONGEST_NAME = 256
_PROTOCOLS = range(2, 6)
_STOP = ord(".")
_OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_FLOAT = struct.Struct(">d")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a stream of one kind may hold."""

    kinds: frozenset[Kind] = frozenset(Kind)
    """Meanings of globals that may occur."""
    strict: bool = False
    """Refuse tolerated globals as well."""
    find_storage: Callable[[object, Call], Storage] | None = None
    """Gives the storage of a persistent id; None where the format has none."""
    load_storage: Callable[[Blob, Call], Storage] | None = None
    """Reads a storage from bytes; None where the format has none."""


class Machine:
    """One run over one stream. Make a new machine for the next stream."""

    def __init__(self, stream: Stream, budget: Budget, rules: Rules) -> None:
        """Read `stream` under `rules`, charging `budget`."""
        self._stream, self._budget, self._rules = stream, budget, rules
        self._view = stream.view
        self._position = 0
        self.bench = ValueStore(stream, budget)

    def run(self, start: int = 0) -> tuple[Any, int]:
        """The value of the pickle at `start`, and the offset behind its STOP.

        Raises:
            WeightsError: If it is not whole, or holds anything but data.
        """
        view, size, budget, bench = self._view, len(self._view), self._budget, self.bench
        self._position = start
        code = -1
        while code != _STOP:
            bench.at = self._position
            if bench.at >= size:
                bench.refuse("the end of the data, without a STOP,", "a pickle is whole", GET_AGAIN)
            code = view[bench.at]
            self._position += 1
            budget.opcodes -= 1
            if budget.opcodes < 0:
                bench.refuse(f"opcode number {MAX_OPCODES + 1}", f"{MAX_OPCODES} are allowed")
            handler = _HANDLERS.get(code)
            if handler is None:
                self._refuse_opcode(code)
            try:
                handler(self)
            except IndexError:
                bench.refuse("an opcode that needs more values than there are", "none may")
        return bench.stack[0], self._position

    def stop(self) -> None:
        """STOP: the value is whole."""
        if self.bench.below or len(self.bench.stack) != 1:
            self.bench.refuse("STOP with unfinished values", "one value is left at the end")

    def _refuse_opcode(self, code: int) -> NoReturn:
        name = _OPCODE_NAMES.get(code)
        found = f"opcode {name}" if name else f"byte 0x{code:02x}, no opcode at all,"
        self.bench.refuse(found, "only the opcodes of tensors and containers are allowed")

    def _call(self) -> Call:
        return Call(self._stream, self.bench.at, self._budget)

    def _skip(self, count: int) -> int:
        start = self._position
        left = len(self._view) - start
        if count > left:
            self.bench.refuse(
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
        self.bench.stack.append(self.integer(size, signed=signed))

    def float_number(self) -> None:
        """BINFLOAT."""
        self.bench.stack.append(_FLOAT.unpack_from(self._view, self._skip(_FLOAT.size))[0])

    def text(self, size: int) -> None:
        """BINUNICODE, SHORT_BINUNICODE."""
        if size > MAX_STRING_BYTES:
            self.bench.refuse(f"a text of {size} bytes", f"{MAX_STRING_BYTES} are allowed")
        start = self._skip(size)
        self._budget.text_bytes -= size
        if self._budget.text_bytes < 0:
            self.bench.refuse("more text than all limits together", "texts are names and source")
        try:
            self.bench.stack.append(str(self._view[start : start + size], "utf-8"))
        except UnicodeDecodeError:
            self.bench.refuse("a text that is not UTF-8", "texts are UTF-8", GET_AGAIN)

    def blob(self, size: int) -> None:
        """BINBYTES, SHORT_BINBYTES, BINBYTES8."""
        start = self._skip(size)
        self.bench.push(Blob(self._stream, start, start + size), 0)

    def line(self) -> str:
        """The next line of text, as GLOBAL has two."""
        window = bytes(self._view[self._position : self._position + _LONGEST_NAME])
        line, newline, _ = window.partition(b"\n")
        if not newline:
            found = f"names have less than {_LONGEST_NAME} bytes"
            self.bench.refuse("a name without an end", found)
        self._position += len(line) + 1
        return line.decode("utf-8", "backslashreplace")

    def name(self, module: object, attribute: object) -> None:
        """GLOBAL, STACK_GLOBAL: a token from the tables, or a refusal."""
        token = None
        if isinstance(module, str) and isinstance(attribute, str):
            token = find_token(module, attribute, strict=self._rules.strict)
        if token is None:
            hostile = ", a hostile request," if is_hostile(str(module)) else ""
            self.bench.refuse(
                f"the global {shown(f'{module}.{attribute}')}{hostile}",
                "a checkpoint may name tensors, containers and network records only",
            )
        if token.kind not in self._rules.kinds:
            self.bench.refuse(f"the global {token}", "it is not allowed in this part of a file")
        self.bench.push(token, 0)

    def reduce(self) -> None:
        """REDUCE: what a known global means, made from its arguments."""
        token, args = self.bench.pop_two()
        if not isinstance(token, Token) or not isinstance(args, tuple):
            self.bench.refuse("REDUCE of something that is no known global", "only those are made")
        if token.kind is Kind.STORAGE_BYTES:
            made: object = self._storage_of_bytes(args)
        else:
            made = make(token, args, self._call())
            if isinstance(made, dict):
                for key in made:
                    self.bench.check_key(key)
        self.bench.push(made, 1 + self.bench.depth(args))

    def _storage_of_bytes(self, args: tuple[Any, ...]) -> Storage:
        load = self._rules.load_storage
        if load is None or len(args) != 1 or not isinstance(args[0], Blob):
            allowed = "it reads bytes, in NVIDIA pickles only"
            self.bench.refuse("torch.storage._load_from_bytes", allowed)
        return load(args[0], self._call())

    def new_object(self) -> None:
        """NEWOBJ: an empty object of a listed class."""
        token, args = self.bench.pop_two()
        made = make_instance(token, args, self._call())
        self.bench.push(made, 1 + self.bench.depth(args))

    def build(self) -> None:
        """BUILD: state for an object that takes one."""
        state = self.bench.stack.pop()
        build(self.bench.stack[-1], state, self._call())
        self.bench.grow(self.bench.stack[-1], [state])

    def persistent_id(self) -> None:
        """BINPERSID: a storage of a torch file."""
        find = self._rules.find_storage
        if find is None:
            allowed = "it occurs only inside files written by torch.save"
            self.bench.refuse("opcode BINPERSID", allowed)
        self.bench.push(find(self.bench.stack.pop(), self._call()), 0)

    def protocol(self) -> None:
        """PROTO."""
        version = self.integer(1)
        if version not in _PROTOCOLS:
            self.bench.refuse(f"pickle protocol {version}", "protocols 2 to 5 are allowed")

    def frame(self) -> None:
        """FRAME."""
        size = self.integer(8)
        if size > len(self._view) - self._position:
            found = f"a frame of {size} bytes, more than are left,"
            self.bench.refuse(found, "frames fit", GET_AGAIN)


_HANDLERS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.protocol,
    0x95: Machine.frame,
    ord("."): Machine.stop,
    ord("("): lambda m: m.bench.mark(),
    ord("}"): lambda m: m.bench.push({}, 1),  # EMPTY_DICT
    ord("]"): lambda m: m.bench.push([], 1),  # EMPTY_LIST
    ord(")"): lambda m: m.bench.push((), 1),  # EMPTY_TUPLE
    0x8F: lambda m: m.bench.push(PickledSet([]), 1),  # EMPTY_SET
    ord("t"): lambda m: m.bench.put_tuple(m.bench.pop_mark()),  # TUPLE
    0x85: lambda m: m.bench.put_short_tuple(1),  # TUPLE1
    0x86: lambda m: m.bench.put_short_tuple(2),  # TUPLE2
    0x87: lambda m: m.bench.put_short_tuple(3),  # TUPLE3
    ord("s"): lambda m: m.bench.set_items(m.bench.pop_two()),  # SETITEM
    ord("u"): lambda m: m.bench.set_items(m.bench.pop_mark()),  # SETITEMS
    ord("a"): lambda m: m.bench.append([m.bench.stack.pop()]),  # APPEND
    ord("e"): lambda m: m.bench.append(m.bench.pop_mark()),  # APPENDS
    0x90: lambda m: m.bench.add_items(m.bench.pop_mark()),  # ADDITEMS
    ord("N"): lambda m: m.bench.stack.append(None),  # NONE
    0x88: lambda m: m.bench.stack.append(True),  # NEWTRUE
    0x89: lambda m: m.bench.stack.append(False),  # NEWFALSE
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
    ord("q"): lambda m: m.bench.remember(m.integer(1)),  # BINPUT
    ord("r"): lambda m: m.bench.remember(m.integer(4)),  # LONG_BINPUT
    0x94: lambda m: m.bench.remember(len(m.bench.memo)),  # MEMOIZE
    ord("h"): lambda m: m.bench.recall(m.integer(1)),  # BINGET
    ord("j"): lambda m: m.bench.recall(m.integer(4)),  # LONG_BINGET
    ord("c"): lambda m: m.name(m.line(), m.line()),  # GLOBAL
    0x93: lambda m: m.name(*m.bench.pop_two()),  # STACK_GLOBAL
    ord("R"): Machine.reduce,
    0x81: Machine.new_object,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent_id,
}
