"""What the pickle machine makes: inert values that only hold what the file said.

None of these has behaviour of its own, and none is a class that the file named.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch

from factory.checkpoint.pickles.source import Stream


class Kind(Enum):
    """What a global stands for; the machine has a hand-written meaning for each."""

    RECORD = "record of a persistent class"
    ORDERED_DICT = "ordered dict"
    SET = "set"
    ENCODE = "bytes written as text"
    SIZE = "torch size"
    PARAMETER = "torch parameter"
    TENSOR = "torch tensor"
    STORAGE_BYTES = "torch storage as bytes"
    STORAGE_TYPE = "torch storage type"
    NUMPY_SCALAR = "numpy scalar"
    NUMPY_ARRAY = "numpy array"
    NUMPY_TYPE = "numpy array type"
    DTYPE = "numpy dtype"
    DILL_ARRAY = "numpy array written by dill"
    INSTANCE = "object with a known state"
    OPAQUE = "object that is recorded and never interpreted"


@dataclass(frozen=True, slots=True)
class Token:
    """A global, by name only. It is looked up in our tables, never imported."""

    module: str
    name: str
    kind: Kind
    dtype: torch.dtype | None = None
    """Element type, of a storage type."""

    def __str__(self) -> str:
        """The dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Blob:
    """Bytes of the file, not copied, with their place."""

    stream: Stream
    start: int
    stop: int

    def view(self) -> memoryview:
        """The bytes themselves."""
        return self.stream.view[self.start : self.stop]


@dataclass(slots=True, eq=False)
class PickledSet:
    """A set, kept as the list of its members: hashing them is not needed."""

    members: list[Any]


@dataclass(slots=True, eq=False)
class Record:
    """An object of a class that NVIDIA's files carry as source text."""

    class_name: str
    source: str
    """The text. It is hashed for the report and read by nobody."""
    state: dict[Any, Any]


@dataclass(slots=True, eq=False)
class Instance:
    """An object of one of the few known classes: its items and its attributes."""

    token: Token
    items: dict[Any, Any] = field(default_factory=dict)
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Opaque:
    """An object of a tolerated class: carried along, refused where its content would matter."""

    token: Token
    args: Any
    state: Any = None


@dataclass(slots=True, eq=False)
class DType:
    """A NumPy element type from the fixed set."""

    code: str
    """Kind and size, such as `f4`."""
    byte_order: str = "|"

    def numpy(self) -> np.dtype[Any]:
        """The little-endian NumPy dtype."""
        return np.dtype(self.code).newbyteorder("<")


@dataclass(slots=True, eq=False)
class Array:
    """A NumPy array, before (dtype None) and after its state was given."""

    shape: tuple[int, ...] = ()
    dtype: DType | None = None
    fortran_order: bool = False
    data: Blob | None = None


@dataclass(slots=True, eq=False)
class Storage:
    """A run of elements that tensors view."""

    dtype: torch.dtype
    numel: int
    key: str
    data: memoryview | None = None
    """The elements' bytes; filled in once they were found."""


@dataclass(slots=True, eq=False)
class TensorView:
    """A tensor as the file describes it: geometry over a storage, not yet checked or copied."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    place: str
    """Where the file describes it, for errors."""
