"""Safetensors files: read with the library after our own checks, written by our own code.

The library writes metadata in a random order, so that equal checkpoints would give different files.
Format: https://github.com/huggingface/safetensors, section Format.
"""

import json
import struct
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from factory.checkpoint.base import DISCRIMINATOR_PREFIX, Checkpoint
from factory.checkpoint.pickles.source import GET_AGAIN, MIB, Stream
from factory.errors import WeightsError
from factory.identity import canonical_json
from factory.store.single_file import staged_file

MAX_HEADER_BYTES = 16 * MIB

_MOST_AXES = 8
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_CODES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def looks_like_safetensors(start: bytes) -> bool:
    """Whether these first bytes (at least 9) are the start of a safetensors file."""
    return len(start) > _LENGTH.size and start[_LENGTH.size : _LENGTH.size + 1] == b"{"


def read_safetensors(stream: Stream, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors (copied out of the file) and metadata strings.

    Raises:
        WeightsError: If it is not a complete safetensors file.
    """
    (header_bytes,) = _LENGTH.unpack_from(stream.view, 0)
    if header_bytes > MAX_HEADER_BYTES:
        stream.refuse(f"a safetensors header of {header_bytes} bytes", 0,
                      f"{MAX_HEADER_BYTES} are allowed", GET_AGAIN)  # fmt: skip
    if _LENGTH.size + header_bytes > len(stream.view):
        stream.refuse(f"a safetensors header of {header_bytes} bytes, cut off,", 0,
                      "the file is whole", "it is truncated: " + GET_AGAIN)  # fmt: skip
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            names = sorted(file.keys())
            # Asked for before it is read: torch takes minutes over a shape of thousands of ones.
            deep = next((n for n in names if len(file.get_slice(n).get_shape()) > _MOST_AXES), None)
            tensors = {} if deep else {name: file.get_tensor(name).clone() for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        stream.refuse(f"a broken safetensors header ({reason})", _LENGTH.size,
                      "offsets are dense and fit the shapes", GET_AGAIN)  # fmt: skip
    if deep:
        stream.refuse(f"tensor {deep[:80]!a} with too many axes", _LENGTH.size,
                      f"{_MOST_AXES} are allowed", GET_AGAIN)  # fmt: skip
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            stream.refuse(f"tensor {name[:80]!a} of type {tensor.dtype}", _LENGTH.size,
                          "types are " + ", ".join(_CODES.values()), "convert it")  # fmt: skip
    return tensors, metadata


def write_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` atomically, for `read_checkpoint`; equal checkpoints give equal bytes.

    Its discriminator is written with it if it was read, under names of its own (`discriminator.`).

    Tensors that share memory are written separately.

    Raises:
        WeightsError: If a setting is not plain JSON, or the file cannot be written.
    """
    try:
        metadata = _metadata(checkpoint)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: settings that are not plain JSON ({error}); numbers must be finite; "
            "report this file's layout"
        ) from error
    tensors = _all_tensors(checkpoint)
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    try:
        with staged_file(path) as file:
            file.write(_header(tensors, names, metadata))
            for name in names:
                flat = tensors[name].detach().cpu().contiguous().reshape(-1)
                file.write(flat.view(torch.uint8).numpy().data)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be written ({error.strerror}); choose a folder with space that you may "
            "write to"
        ) from error


def _all_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The generator's tensors, and those of its discriminator where it was read."""
    beside = checkpoint.discriminator
    others = beside.tensors if beside else {}
    return {
        **checkpoint.tensors,
        **{f"{DISCRIMINATOR_PREFIX}{name}": tensor for name, tensor in others.items()},
    }


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    more = {"warnings": canonical_json(checkpoint.warnings)} if checkpoint.warnings else {}
    beside = checkpoint.discriminator
    if beside and beside.tensors:
        more["discriminator"] = canonical_json(beside.kwargs)
    return {
        "assumptions": canonical_json(checkpoint.assumptions),
        "attribution": checkpoint.attribution,
        "class_names": canonical_json(checkpoint.class_names),
        "family": checkpoint.family,
        "kwargs": canonical_json(checkpoint.kwargs),
        "layout": checkpoint.layout,
        "license": checkpoint.license,
        "notes": canonical_json(checkpoint.notes),
        "source_length": str(checkpoint.source_length),
        "source_sha256": checkpoint.source_sha256,
        **more,
    }


def _header(tensors: dict[str, Tensor], names: list[str], metadata: dict[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for name in names:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text
