"""Detect a file's format by its content; the file name extension is ignored."""

import struct
from enum import Enum
from typing import NoReturn

from factory.checkpoint.files.safetensors_file import looks_like_safetensors
from factory.checkpoint.files.torch_stream import MAGIC
from factory.checkpoint.pickles.source import GET_AGAIN, Stream, shown

_PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_OLD_PICKLE_STARTS = b"c(]}i"
_LFS = b"version https://git-lfs"
_START_BYTES = 512


class FileKind(Enum):
    """Supported file formats."""

    TORCH_ZIP = "torch zip"
    TORCH_STREAM = "legacy torch stream"
    PICKLE = "pickle"
    SAFETENSORS = "safetensors"


def find_kind(stream: Stream) -> FileKind:
    """Detect the format of `stream`.

    Raises:
        WeightsError: If it is unknown; a failed download is named as such.
    """
    start = bytes(stream.view[:_START_BYTES])
    kind = None
    if start.startswith(b"PK\3\4"):
        kind = FileKind.TORCH_ZIP
    elif start.startswith(MAGIC[:8]):
        kind = FileKind.TORCH_STREAM
    elif start.startswith(_PICKLE_PROTOCOLS):
        kind = FileKind.PICKLE
    elif looks_like_safetensors(start):
        kind = FileKind.SAFETENSORS
    elif start[:1] in _OLD_PICKLE_STARTS and start and not start.startswith(_LFS):
        # Protocols 0 and 1 have no header; the unpickler rejects what it does not support.
        kind = FileKind.PICKLE
    if kind is None:
        _name_failure(stream, start)
    return kind


def _name_failure(stream: Stream, start: bytes) -> NoReturn:
    allowed = "safetensors, torch.save files and network pickles are allowed"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        stream.refuse("an empty file, which ends", 0, allowed, "download it again")
    if text.startswith(b"<"):
        stream.refuse("an HTML or XML page", 0, allowed,
                      "the download failed: open the address in a browser")  # fmt: skip
    if start.startswith(_LFS):
        stream.refuse("a git-LFS pointer instead of the file", 0, allowed, "run git lfs pull")
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ", b"Rar!")):
        stream.refuse("a packed archive", 0, allowed, "unpack it and give the file inside")
    if start.startswith((b"PK\5\6", b"\x80")) or len(start) <= struct.calcsize("<Q"):
        stream.refuse(f"a broken file, {start[:8].hex(' ')},", 0, allowed, GET_AGAIN)
    stream.refuse(f"an unknown format, {shown(start[:16].hex(' '))},", 0, allowed, GET_AGAIN)
