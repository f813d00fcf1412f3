"""Build torch tensors from the descriptions in a file: validate the geometry, then copy once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from factory.checkpoint.pickles.nodes import Array, Storage, TensorView
from factory.checkpoint.pickles.source import Budget, refuse

_MOST_DIMENSIONS = 8
_LARGEST_EMPTY = 2**31

_NUMPY_OF_TORCH = {
    torch.float64: "<f8",
    torch.float32: "<f4",
    torch.float16: "<f2",
    torch.bfloat16: "<u2",
    torch.int64: "<i8",
    torch.int32: "<i4",
    torch.int16: "<i2",
    torch.int8: "i1",
    torch.uint8: "u1",
    torch.bool: "u1",
}


def reason_for_bad_geometry(
    storage: Storage, offset: int, size: tuple[Any, ...], stride: tuple[Any, ...]
) -> str | None:
    """Why these sizes and strides are no view of `storage`, or None if they are."""
    numbers = (offset, *size, *stride)
    reason = None
    if len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        reason = f"{len(size)} sizes and {len(stride)} strides"
    elif any(type(number) is not int for number in numbers):
        reason = "a size, stride or offset that is no integer"
    elif any(number < 0 for number in numbers):
        reason = "a negative size, stride or offset"
    elif 0 in size:
        if offset > storage.numel or _product(max(dim, 1) for dim in size) > _LARGEST_EMPTY:
            reason = "no elements and an absurd shape"
    else:
        numel = _product(size)
        last = offset + sum((dim - 1) * step for dim, step in zip(size, stride, strict=True))
        if last >= storage.numel:
            reason = f"its last element at {last} of a storage of {storage.numel}"
        elif numel > storage.numel:
            reason = f"{numel} elements over a storage of {storage.numel}"
    return reason


def _product(numbers: Iterable[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


def torch_tensor(tensor: TensorView, budget: Budget) -> Tensor:
    """Copy the tensor that `tensor` describes, contiguously.

    Raises:
        WeightsError: If its storage has no bytes, or the file's tensors exceed the file.
    """
    storage = tensor.storage
    if tensor.dtype not in _NUMPY_OF_TORCH:
        refuse(
            budget.file,
            f"the tensor {tensor.place} of type {str(tensor.dtype).removeprefix('torch.')}",
            "floats of 16 to 64 bits, integers and booleans are allowed",
            "save the generator in one of these types: generator.float().state_dict()",
        )
    element = np.dtype(_NUMPY_OF_TORCH[tensor.dtype])
    numel = _product(tensor.size)
    budget.spend_tensor(numel * element.itemsize, f"the tensor {tensor.place}")
    if storage.data is None:
        refuse(
            budget.file,
            f"the tensor {tensor.place} views storage {storage.key!r}, which has no data",
            "every storage is in the file",
            "get the file again",
        )
    if numel == 0:
        return torch.empty(tensor.size, dtype=tensor.dtype)
    count = storage.numel * storage.dtype.itemsize // element.itemsize
    flat = np.frombuffer(storage.data, element, count=count)
    # A stride along a single element is never used, and may be too large to multiply.
    steps = [
        step * element.itemsize if dim > 1 else element.itemsize
        for dim, step in zip(tensor.size, tensor.stride, strict=True)
    ]
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :], tensor.size, steps, writeable=False
    )
    if tensor.dtype == torch.bool:
        return torch.from_numpy(np.array(view != 0, order="C"))
    copied = torch.from_numpy(np.array(view, order="C", copy=True))
    return copied.view(torch.bfloat16) if tensor.dtype == torch.bfloat16 else copied


def numpy_tensor(array: Array, budget: Budget, place: str) -> Tensor:
    """Copy a pickled NumPy array as a tensor.

    Raises:
        WeightsError: If it has no content, a type that no weights have, or does not fit the budget.
    """
    values = numpy_array(array, budget, place)
    if values.dtype.str not in _NUMPY_OF_TORCH.values() and values.dtype != np.bool_:
        refuse(budget.file, f"{place} of type {values.dtype}", "floats and integers are allowed",
               "write it again in one of these types")  # fmt: skip
    return torch.from_numpy(values)


def numpy_array(array: Array, budget: Budget, place: str) -> np.ndarray:
    """Copy a pickled NumPy array, contiguously.

    Raises:
        WeightsError: If it has no content, or the file's tensors exceed the file.
    """
    if array.dtype is None or array.data is None:
        refuse(budget.file, f"{place} is an array without content", "arrays are whole",
               "get the file again")  # fmt: skip
    budget.spend_tensor(array.data.stop - array.data.start, place)
    flat = np.frombuffer(array.data.view(), array.dtype.numpy())
    shaped = flat.reshape(array.shape, order="F" if array.fortran_order else "C")
    return np.array(shaped, order="C", copy=True)
