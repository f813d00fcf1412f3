"""Open a weights file of any format and parse it as data; what it means is decided elsewhere."""

import mmap
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from factory.checkpoint.files.detect import FileKind, find_kind
from factory.checkpoint.files.safetensors_file import read_safetensors
from factory.checkpoint.files.torch_stream import load_storage, read_torch_stream
from factory.checkpoint.files.torch_zip import read_torch_zip
from factory.checkpoint.pickles.machine import Machine, Rules
from factory.checkpoint.pickles.source import DISTRUST, TENSOR_SLACK_BYTES, Budget, Stream, refuse
from factory.errors import WeightsError

_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/")
"""An address that was converted to a `Path`, which removes its second slash."""


@dataclass(frozen=True, slots=True)
class Content:
    """A parsed file: tensors with metadata (safetensors), or an object of inert parts."""

    layout: str
    """What its format is called."""
    budget: Budget
    """Limits that copying its tensors counts against."""
    found: object = None
    """The object, of formats that hold one."""
    tensors: dict[str, Tensor] | None = None
    """The tensors of a safetensors file."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What a safetensors file says of itself."""


def open_content(path: Path, *, strict: bool = False) -> Content:
    """Parse the file at `path` without executing anything in it.

    Raises:
        WeightsError: If it is of no supported format, not whole, or asks for anything but data.
    """
    stream = Stream.of_bytes(_map_file(path), path)
    budget = Budget(str(path), tensor_bytes=len(stream.view) + TENSOR_SLACK_BYTES)
    kind = find_kind(stream)
    if kind is FileKind.SAFETENSORS:
        tensors, metadata = read_safetensors(stream, path)
        return Content("safetensors", budget, tensors=tensors, metadata=metadata)
    if kind is FileKind.TORCH_ZIP:
        return Content("torch zip", budget, read_torch_zip(stream, budget, Rules(strict=strict)))
    if kind is FileKind.TORCH_STREAM:
        found = read_torch_stream(stream, budget, Rules(strict=strict))
        return Content("legacy torch file", budget, found)
    rules = Rules(strict=strict, load_storage=load_storage)
    found, end = Machine(stream, budget, rules).run()
    if end != len(stream.view):
        stream.refuse("bytes behind the end of the pickle", end, "it ends there", DISTRUST)
    return Content("pickle", budget, found)


def unreadable(path: Path, error: OSError | ValueError) -> WeightsError:
    """The error for a file that cannot be read."""
    named = _ADDRESS.sub(r"\1://", str(path))  # a path has one slash where an address has two
    if named != str(path):
        return WeightsError(
            where=named,
            found="an address",
            allowed="files on this machine",
            remedy="download it, and give the file's path",
        )
    reason = getattr(error, "strerror", None) or str(error)
    return WeightsError(
        where=named,
        found=f"cannot be read ({reason[0].lower()}{reason[1:]})",
        remedy="check the path",
    )


def _map_file(path: Path) -> memoryview:
    """Memory-map the file, so that a large one costs no memory."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            refuse(str(path), "not an ordinary file", "a file or folder of weights is allowed",
                   "give the file's path")  # fmt: skip
        if facts.st_size == 0:
            return memoryview(b"")
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
