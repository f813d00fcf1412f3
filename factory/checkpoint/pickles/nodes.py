"""Result types of the unpickler: inert values that only hold the content of the file.

None of them has behaviour of its own, and none is a class that the file named.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch

from factory.checkpoint.pickles.source import Stream


class Kind(Enum):
    """Kinds of globals; each has a hand-written constructor."""

    PERSISTENT_OBJECT = "object of a persistent class"
    ORDERED_DICT = "ordered dict"
    SET = "set"
    ENCODE = "bytes written as text"
    SIZE = "torch size"
    PARAMETER = "torch parameter"
    TENSOR = "torch tensor"
    TYPED_TENSOR = "torch tensor that says its own element type"
    STORAGE_BYTES = "torch storage as bytes"
    STORAGE_TYPE = "torch storage type"
    NUMPY_SCALAR = "numpy scalar"
    NUMPY_ARRAY = "numpy array"
    NUMPY_BUFFER = "numpy array of protocol 5"
    NUMPY_TYPE = "numpy array type"
    DTYPE = "numpy dtype"
    DILL_ARRAY = "numpy array written by dill"
    INSTANCE = "object with a known state"
    OPAQUE = "object that is recorded and never interpreted"


@dataclass(frozen=True, slots=True)
class Token:
    """A global, by name only: looked up in the allow-list, never imported."""

    module: str
    name: str
    kind: Kind
    dtype: torch.dtype | None = None
    """Element type, of a storage type or of the type itself."""

    def __str__(self) -> str:
        """The dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class ByteRange:
    """A range of the file's bytes, not copied."""

    stream: Stream
    start: int
    stop: int

    def view(self) -> memoryview:
        """The bytes themselves."""
        return self.stream.view[self.start : self.stop]


@dataclass(slots=True, eq=False)
class PickledSet:
    """A set as the list of its members, so that nothing has to be hashed."""

    members: list[Any]


@dataclass(slots=True, eq=False)
class PersistentObject:
    """An object of a class whose source text is in the file (NVIDIA's `persistence`)."""

    class_name: str
    source: str
    """The source text. It is hashed for the report and never parsed."""
    state: dict[Any, Any]


@dataclass(slots=True, eq=False)
class PickledObject:
    """An object of one of the interpreted classes: its items and its attributes."""

    token: Token
    items: dict[Any, Any] = field(default_factory=dict)
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class OpaqueObject:
    """An object of a tolerated class: not interpreted, rejected where its content is needed."""

    token: Token
    args: Any
    state: Any = None


@dataclass(slots=True, eq=False)
class DType:
    """A NumPy element type."""

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
    data: ByteRange | None = None


@dataclass(slots=True, eq=False)
class Storage:
    """A contiguous run of elements that tensors are views of."""

    dtype: torch.dtype
    numel: int
    key: str
    data: memoryview | None = None
    """The elements' bytes; None until they have been located."""


@dataclass(slots=True, eq=False)
class TensorView:
    """A tensor as the file describes it: a strided view of a storage, not yet validated or copied."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    place: str
    """Position of the description in the file, for errors."""
    own_dtype: torch.dtype | None = None
    """Element type, where the storage is plain bytes."""

    @property
    def dtype(self) -> torch.dtype:
        """Its element type."""
        return self.own_dtype or self.storage.dtype
