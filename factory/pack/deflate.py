"""Deflate for PNG files: zlib-ng where it is installed and writes the bytes that zlib writes, else zlib.

Both look for runs of equal bytes only (`Z_RLE`), for which zlib-ng has kept zlib's algorithm and uses
wide instructions. No promise of theirs says so, and distributions build both in several ways: each
process compares them on data that reaches every branch of the algorithm before it uses zlib-ng. A
dataset has the same bytes with it and without.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from factory.log import log_event

_SETTINGS = (1, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_RLE)
"""Level, method, window, memory and strategy."""

_NOISE = 2_654_435_761

Compress = Callable[..., Any]


def deflate(data: memoryview | bytes) -> bytes:
    """Compress `data` as one zlib stream; other threads run meanwhile."""
    return compress_with(_chosen()[0], data)


def deflate_version() -> dict[str, str]:
    """The version of zlib-ng if it is in use here, by its name; else empty."""
    return dict(_chosen()[1])


def compress_with(compressobj: Compress, data: memoryview | bytes) -> bytes:
    """Compress `data` by the `compressobj` of a module with zlib's interface."""
    stream = compressobj(*_SETTINGS)
    compressed: bytes = stream.compress(data) + stream.flush()
    return compressed


def find_difference(compressobj: Compress) -> str:
    """What another `compressobj` writes in other bytes than zlib's; empty if there is nothing."""
    for name, data in _probes():
        if compress_with(compressobj, data) != compress_with(zlib.compressobj, data):
            return name
    return ""


@cache
def _chosen() -> tuple[Compress, tuple[tuple[str, str], ...]]:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib.compressobj, ()
    version = str(zlib_ng.ZLIBNG_RUNTIME_VERSION)
    difference = find_difference(zlib_ng.compressobj)
    if difference:
        log_event("zlib_ng_unused", version=version, differs_on=difference)
        return zlib.compressobj, ()
    return zlib_ng.compressobj, (("zlib-ng", version),)


def _probes() -> Iterator[tuple[str, bytes]]:
    """Data for each way in which a block can be written, some of more than a block and a window."""
    # A formula and no library's random numbers, whose versions may differ.
    numbers = np.arange(1 << 17, dtype=np.int64)
    noise = (numbers + 1) * _NOISE % 2**32 >> 13
    yield "nothing", b""
    yield "one byte", b"\x02"
    yield (
        "runs of every length about the longest match",
        b"".join(bytes([length % 251]) * length for length in (*range(1, 12), *range(250, 530, 3))),
    )
    yield "one run longer than a window", bytes(1 << 17)
    yield "noise, which is stored", _bytes(noise[:40_000] % 256)
    yield "few values, many blocks", _bytes(noise % 3 * (numbers % 7 < 3))
    yield "many short runs", np.repeat(_bytes_of(noise[:12_000] % 256), 4).tobytes()
    yield "slopes", _bytes((numbers[:60_000] // 5 + noise[:60_000] % 2) % 256)
    yield "short noise, in a fixed table", _bytes(noise[:60] % 144)


def _bytes(values: np.ndarray) -> bytes:
    return _bytes_of(values).tobytes()


def _bytes_of(values: np.ndarray) -> np.ndarray:
    narrow: np.ndarray = values.astype(np.uint8)
    return narrow
