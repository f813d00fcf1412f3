"""Hand-written constructors for the allowed globals: validated arguments in, inert data out.

No global is looked up, imported or called.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from factory.checkpoint.pickles.nodes import (
    Array,
    ByteRange,
    DType,
    Kind,
    OpaqueObject,
    PersistentObject,
    PickledObject,
    PickledSet,
    Storage,
    TensorView,
    Token,
)
from factory.checkpoint.pickles.source import DISTRUST, SAVE_ALONE, Budget, Stream, shown
from factory.checkpoint.pickles.tensors import reason_for_bad_geometry
from factory.errors import WeightsError

_DTYPE_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_MOST_DIMENSIONS = 8
_PERSISTENCE_VERSION = 6


@dataclass(frozen=True, slots=True)
class CallSite:
    """Where in a stream a constructor was called: for error messages and limits."""

    stream: Stream
    offset: int
    budget: Budget

    def refusal(self, found: str, allowed: str, remedy: str = DISTRUST) -> WeightsError:
        """The error that rejects `found` at this position."""
        return self.stream.refusal(found, self.offset, allowed, remedy)

    @property
    def place(self) -> str:
        """The position as text, for errors that are detected later."""
        return self.stream.at(self.offset)


def make(token: Token, args: tuple[Any, ...], call: CallSite) -> object:
    """Construct the value of `token(*args)`.

    Raises:
        WeightsError: If `token` is not callable here, or its arguments are invalid.
    """
    if token.kind is Kind.OPAQUE:
        return OpaqueObject(token, args)
    maker = _MAKERS.get(token.kind)
    if maker is None:
        raise call.refusal(f"a call of {token}", "it is not called in any checkpoint")
    return maker(args, call)


def make_instance(token: object, args: object, call: CallSite) -> PickledObject | OpaqueObject:
    """Create an empty object of the class `token`.

    Raises:
        WeightsError: If `token` is not an allowed class, or has arguments.
    """
    if isinstance(token, Token) and token.kind is Kind.OPAQUE:
        return OpaqueObject(token, args)
    if isinstance(token, Token) and token.kind is Kind.INSTANCE and args == ():
        return PickledObject(token)
    found = str(token) if isinstance(token, Token) else type(token).__name__
    raise call.refusal(
        f"NEWOBJ of {shown(found)}", "only listed classes are made, without arguments"
    )


def build(target: object, state: object, call: CallSite) -> None:
    """Store `state` on `target`.

    Raises:
        WeightsError: If `target` is a class or a type without a known state.
    """
    if isinstance(target, DType) and isinstance(state, tuple):
        _set_byte_order(target, state, call)
    elif isinstance(target, Array) and isinstance(state, tuple):
        _set_array_state(target, state, call)
    elif isinstance(target, OpaqueObject) or (
        isinstance(target, PickledObject) and isinstance(state, dict)
    ):
        target.state = state
    elif not (isinstance(target, dict) and isinstance(state, dict)):
        # An OrderedDict's attributes (torch keeps layer versions there) are of no use to us.
        found = str(target) if isinstance(target, Token) else type(target).__name__
        raise call.refusal(f"BUILD on {shown(found)}", "only objects with a known state take one")


def _make_persistent_object(args: tuple[Any, ...], call: CallSite) -> PersistentObject:
    match args:
        case ({"type": "class", "version": version, "module_src": str(source),
               "class_name": str(name), "state": dict(state)},) if (
            version == _PERSISTENCE_VERSION and name.isidentifier()
        ):  # fmt: skip
            return PersistentObject(name, source, state)
    raise call.refusal(
        "a persistent object that is not a class record of version 6",
        "type, version, module_src, class_name and state are expected",
    )


def _make_ordered_dict(args: tuple[Any, ...], call: CallSite) -> dict[Any, Any]:
    if not args:
        return {}
    pairs = args[0]
    if len(args) != 1 or not isinstance(pairs, list):
        raise call.refusal(
            "an OrderedDict of something else than pairs", "a list of pairs is allowed"
        )
    call.budget.spend_steps(len(pairs), f"the OrderedDict {call.place}")
    made: dict[Any, Any] = {}
    for pair in pairs:
        match pair:
            case [(str() | int() | None) as key, value]:
                made[key] = value
            case _:
                raise call.refusal(
                    "an OrderedDict of something else than pairs", "names come first"
                )
    return made


def _make_set(args: tuple[Any, ...], call: CallSite) -> PickledSet:
    match args:
        case ():
            return PickledSet([])
        case (list(members),):
            call.budget.spend_steps(len(members), f"the set {call.place}")
            return PickledSet(list(members))
    raise call.refusal("a set of something else than a list", "a list of members is allowed")


def _make_bytes(args: tuple[Any, ...], call: CallSite) -> ByteRange:
    match args:
        case (str(text), "latin1" | "latin-1"):
            call.budget.text_bytes -= len(text)
            if call.budget.text_bytes >= 0 and (not text or max(text) <= "\xff"):
                data = memoryview(text.encode("latin-1"))
                inside = f" of the bytes written as text {call.place}"
                return ByteRange(Stream(data, call.stream.file, inside), 0, len(data))
    raise call.refusal(
        "_codecs.encode of something else than Latin-1 bytes", "bytes may be written so"
    )


def _make_size(args: tuple[Any, ...], call: CallSite) -> tuple[Any, ...]:
    match args:
        case (tuple(size),) | (list(size),) if len(size) <= _MOST_DIMENSIONS:
            return tuple(size)
    raise call.refusal("a torch.Size of something else than a short tuple", "integers are allowed")


def _make_parameter(args: tuple[Any, ...], call: CallSite) -> TensorView:
    match args:
        case (TensorView() as tensor, bool(), dict(), *_):
            return tensor
    raise call.refusal("a parameter of something else than a tensor", "a tensor is allowed")


def _make_tensor(args: tuple[Any, ...], call: CallSite) -> TensorView:
    match args:
        case (Storage() as storage, int(offset), tuple(size), tuple(stride), bool(), dict(), *_):
            reason = reason_for_bad_geometry(storage, offset, size, stride)
            if reason is not None:
                raise call.refusal(f"a tensor with {reason}", "a tensor lies inside its storage")
            return TensorView(storage, offset, size, stride, call.place)
    raise call.refusal(
        "a tensor of something else than a storage and its geometry", "those are allowed"
    )


def _make_typed_tensor(args: tuple[Any, ...], call: CallSite) -> TensorView:
    """A tensor of a type that has no storage type of its own, such as uint16 or float8."""
    match args:
        case (
            Storage() as storage, int(offset), tuple(size), tuple(stride), bool(), dict(),
            Token(kind=Kind.OPAQUE, dtype=torch.dtype() as dtype), *_,
        ):  # fmt: skip
            elements = Storage(dtype, storage.numel // dtype.itemsize, storage.key)
            reason = reason_for_bad_geometry(elements, offset, size, stride)
            if reason is not None:
                raise call.refusal(f"a tensor with {reason}", "a tensor lies inside its storage")
            return TensorView(storage, offset, size, stride, call.place, dtype)
    raise call.refusal(
        "a tensor of something else than a storage, its geometry and type", "those are allowed"
    )


def _make_scalar(args: tuple[Any, ...], call: CallSite) -> bool | int | float:
    match args:
        case (DType() as dtype, ByteRange() as blob) if (
            blob.stop - blob.start == np.dtype(dtype.code).itemsize
        ):
            value: bool | int | float = np.frombuffer(blob.view(), dtype.numpy())[0].item()
            return value
    raise call.refusal(
        "a NumPy scalar whose bytes do not fit its type", "they are as long as the type"
    )


def _make_array(args: tuple[Any, ...], call: CallSite) -> Array:
    match args:
        case (Token(kind=Kind.NUMPY_TYPE), (0,), ByteRange()):
            return Array()
    raise call.refusal("a NumPy array made in an unknown way", "ndarray, (0,), b'b' is allowed")


def _make_buffer_array(args: tuple[Any, ...], call: CallSite) -> Array:
    """An array as protocol 5 writes it."""
    match args:
        case (ByteRange() as data, DType() as dtype, tuple(shape), "C" | "F" as order):
            array = Array()
            _set_array_state(array, (1, shape, dtype, order == "F", data), call)
            return array
    raise call.refusal("a NumPy array made in an unknown way", "bytes, type, shape and order")


def _make_dill_array(args: tuple[Any, ...], call: CallSite) -> Array:
    match args:
        case (Token(kind=Kind.NUMPY_ARRAY), tuple(made_of), tuple(state), *_):
            array = _make_array(made_of, call)
            _set_array_state(array, state, call)
            return array
    raise call.refusal("a dill array made in an unknown way", "an array and its state are allowed")


def _make_dtype(args: tuple[Any, ...], call: CallSite) -> DType:
    match args:
        case (str(text), *_):
            code, order = text.lstrip("<>|="), text[:1] if text[:1] in "<>|=" else "|"
            if code in _DTYPE_CODES and order != ">" and len(text) <= len(code) + 1:
                return DType(code, order)
            raise call.refusal(
                f"the NumPy type {shown(text)}", "numbers and booleans are allowed", SAVE_ALONE
            )
    raise call.refusal("a NumPy type that is no text", "numbers and booleans are allowed")


def _set_byte_order(dtype: DType, state: tuple[Any, ...], call: CallSite) -> None:
    match state:
        case (int(), "<" | "|" | "=" as order, None, None, None, *_):
            dtype.byte_order = order
        case _:
            raise call.refusal(
                "a NumPy type that is big-endian or structured", "plain little-endian ones"
            )


def _set_array_state(array: Array, state: tuple[Any, ...], call: CallSite) -> None:
    match state:
        case (1, tuple(shape), DType() as dtype, bool(fortran_order), ByteRange() as data) if (
            len(shape) <= _MOST_DIMENSIONS
            and all(type(dim) is int and 0 <= dim < 2**31 for dim in shape)
            and math.prod(shape) * np.dtype(dtype.code).itemsize == data.stop - data.start
        ):
            array.shape, array.dtype = shape, dtype
            array.fortran_order, array.data = fortran_order, data
        case _:
            raise call.refusal(
                "a NumPy array whose bytes do not fit its shape and type", "they fit exactly"
            )


_MAKERS: dict[Kind, Callable[[tuple[Any, ...], CallSite], object]] = {
    Kind.PERSISTENT_OBJECT: _make_persistent_object,
    Kind.ORDERED_DICT: _make_ordered_dict,
    Kind.SET: _make_set,
    Kind.ENCODE: _make_bytes,
    Kind.SIZE: _make_size,
    Kind.PARAMETER: _make_parameter,
    Kind.TENSOR: _make_tensor,
    Kind.TYPED_TENSOR: _make_typed_tensor,
    Kind.NUMPY_SCALAR: _make_scalar,
    Kind.NUMPY_ARRAY: _make_array,
    Kind.NUMPY_BUFFER: _make_buffer_array,
    Kind.DTYPE: _make_dtype,
    Kind.DILL_ARRAY: _make_dill_array,
}
