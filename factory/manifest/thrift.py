"""Read structs in Thrift's compact protocol, in which Parquet writes its footers and page headers.

Arrow shows most of a footer, but asked for the facts of a damaged column it ends the process.
"""

from mmap import mmap
from typing import Any

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS, _LISTS = (4, 5, 6), (9, 10)
_READ = (*_INTEGERS, *_LISTS, _BINARY, _STRUCT)
_SIZES = {_BYTE: 1, _DOUBLE: 8}
_LONG_LIST = 15
_MOST_BYTES_OF_AN_INTEGER = 10
_DEEPEST = 16
_MOST_VALUES = 2**17
"""Of one struct, those inside it included: a footer of ours has a few thousand."""


class ThriftReader:
    """Reads structs from a part of a file."""

    def __init__(self, data: bytes | mmap, place: int, end: int) -> None:
        """Read `data` from byte `place` on, and nothing from byte `end` on."""
        self._data = data
        self.place = place
        """Where the next byte is read."""
        self._end = end
        self._num_values = 0

    def read_struct(self, depth: int = 0) -> dict[int, Any]:
        """Fields by number: integers, booleans, lists and structs; texts and other values are None.

        Raises:
            ValueError: If it is damaged, has too many values, or is nested too deep.
        """
        fields: dict[int, Any] = {}
        number = 0
        while True:
            if self.place >= self._end or depth > _DEEPEST:
                raise self._damage()
            head = self._data[self.place]
            self.place += 1
            if head == 0:
                return fields
            step, kind = head >> 4, head & 15
            number = number + step if step else self._integer()
            is_plain = kind in (_TRUE, _FALSE)  # in a field, the kind is the value
            fields[number] = kind == _TRUE if is_plain else self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401 - what the kind says
        self._num_values += 1
        if self._num_values > _MOST_VALUES or not (kind in _SIZES or kind in _READ):
            raise self._damage()
        if kind == _STRUCT:
            return self.read_struct(depth + 1)
        if kind in _SIZES:
            self.place += _SIZES[kind]
            return None
        if kind in _LISTS:
            return self._list(depth)
        if kind == _BINARY:
            size_bytes = self._natural()
            self.place += size_bytes
            return None
        return self._integer()

    def _list(self, depth: int) -> list[Any]:
        if self.place >= self._end or depth > _DEEPEST:
            raise self._damage()
        length, kind = self._data[self.place] >> 4, self._data[self.place] & 15
        self.place += 1
        length = self._natural() if length == _LONG_LIST else length
        kind = _BYTE if kind in (_TRUE, _FALSE) else kind
        if length > self._end - self.place:  # a value takes a byte at least
            raise self._damage()
        return [self._value(kind, depth + 1) for _ in range(length)]

    def _natural(self) -> int:
        """The next number: seven bits of each byte, the lowest first."""
        value = 0
        for place in range(_MOST_BYTES_OF_AN_INTEGER):
            if self.place >= self._end:
                raise self._damage()
            byte = self._data[self.place]
            self.place += 1
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value
        raise self._damage()

    def _integer(self) -> int:
        value = self._natural()
        return value >> 1 if value % 2 == 0 else -(value >> 1) - 1

    def _damage(self) -> ValueError:
        return ValueError(f"a damaged header at byte {self.place}")
