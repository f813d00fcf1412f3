"""Label Studio's brush: its own run lengths of the bytes of an RGBA picture.

The format (`@thi.ng/rle-pack`) is a stream of bits: 32 for the number of values, 5 for the width of a
value less one, four times 4 for the width of a length less one; then blocks of one bit (1 = one value
repeated, 0 = as many values), two that say which width the length has, the length less one, and the
value or values.
"""

import numpy as np
from jaxtyping import Bool, Int64, UInt8


def decode_brush(packed: object, side: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of a brush with an alpha above 127.

    Raises:
        ValueError: If it is something else, or not of the picture's size.
    """
    num_values = side * side * 4
    is_list = isinstance(packed, list) and len(packed) <= 2 * num_values + 16
    written = packed if isinstance(packed, list) and is_list else [None]
    if not all(type(byte) is int and 0 <= byte < 256 for byte in written):
        raise ValueError("has a brush whose `rle` is no list of bytes")
    bits = _Bits(np.unpackbits(np.array(written, dtype=np.uint8)))
    if bits.take(32) != num_values:
        raise ValueError(f"has a brush that is not of its picture's size, {side} x {side} px")
    width = bits.take(5) + 1
    lengths = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(num_values, dtype=np.int64)
    done = 0
    while done < num_values:
        is_run = bits.take(1)
        count = bits.take(lengths[bits.take(2)]) + 1
        if done + count > num_values:
            raise ValueError("has a brush whose `rle` is longer than its picture")
        values[done : done + count] = (
            bits.take(width) if is_run else bits.take_several(count, width)
        )
        done += count
    inside: np.ndarray = values.reshape(side, side, 4)[:, :, 3] > 127
    return inside


class _Bits:
    """A stream of bits, from which whole numbers are taken."""

    def __init__(self, bits: UInt8[np.ndarray, " b"]) -> None:
        self._bits, self._place = bits, 0

    def take(self, width: int) -> int:
        """The next number, of `width` bits."""
        return int(self.take_several(1, width)[0])

    def take_several(self, count: int, width: int) -> Int64[np.ndarray, " n"]:
        """The next `count` numbers, of `width` bits each."""
        block = self._bits[self._place : self._place + count * width]
        if len(block) < count * width:
            raise ValueError("has a brush whose `rle` is cut short")
        self._place += count * width
        powers = 1 << np.arange(width - 1, -1, -1, dtype=np.int64)
        found: np.ndarray = block.reshape(count, width).astype(np.int64) @ powers
        return found
