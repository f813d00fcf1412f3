"""Copies of a batch on the host; from a GPU they travel while it computes what is queued next.

Memory of the host that cannot be swapped out is filled several times faster than other memory, and
without anybody waiting: the copies run on a stream of their own, behind what the batch is made of.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

Wait = Callable[[], dict[str, np.ndarray]]
"""Waits for copies, and returns them."""


def start_copies(tensors: Mapping[str, Tensor | None]) -> Wait:
    """Start to copy those of `tensors` that there are, all on one device, to the host.

    On a CPU nothing is copied: the arrays share the tensors' memory.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    device = next(iter(given.values())).device
    if device.type != "cuda":
        return lambda: {name: tensor.cpu().numpy() for name, tensor in given.items()}
    stream = _stream_of(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        # PyTorch takes memory that cannot be swapped out for copies that do not block.
        hosted = {name: tensor.to("cpu", non_blocking=True) for name, tensor in given.items()}
    for tensor in given.values():
        tensor.record_stream(stream)  # or its memory would be given away before it is copied
    done = stream.record_event()

    def wait() -> dict[str, np.ndarray]:
        done.synchronize()
        return {name: tensor.numpy() for name, tensor in hosted.items()}

    return wait


@cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
