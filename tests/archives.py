"""Archives that are not as they should be: made byte by byte, because no tool writes them."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np


def png_of(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG with any header: a size that its pixels do not have, or 16 bits of a channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def deep_png(values: np.ndarray) -> bytes:
    """16-bit values (h, w, c) as PNG: 1 channel = grey, 3 = RGB, 4 = RGBA."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png_of(width, height, depth=16, colour={1: 0, 3: 2, 4: 6}[channels], rows=rows)


def sparse_tar(path: Path, name: str, claimed_bytes: int) -> Path:
    """A GNU tar of one sparse member that takes no room and claims any size."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"\x80" + claimed_bytes.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(10240 - 512))
    return path


def tar_with(path: Path, *members: tarfile.TarInfo) -> Path:
    """A tar of headers alone, with as many zero bytes behind each as it says."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0
) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, target, size
    return found


def claim_size(data: bytes, claimed_bytes: int) -> bytes:
    """A tar whose first header says that its member has `claimed_bytes`."""
    header = bytearray(data[:512])
    header[124:136] = b"\x80" + claimed_bytes.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]
