"""The processes that train one network together, as `torchrun` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from factory.errors import JobError

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of a training."""

    rank: int = 0
    """Its number, from 0. Rank 0 alone writes files and messages."""
    count: int = 1
    """Number of processes."""
    local_rank: int = 0
    """Its number on its machine, which is that of its GPU."""

    @property
    def device(self) -> torch.device:
        """A GPU of its own if there is one, else the CPU."""
        if torch.cuda.is_available():
            return torch.device("cuda", self.local_rank)
        return torch.device("cpu")

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are the mean over all ranks."""
        return network if self.count == 1 else DistributedDataParallel(network)

    def from_first(self, value: _Value) -> _Value:
        """What rank 0 has as `value`; all ranks call it."""
        held = [value]
        if self.count > 1:
            distributed.broadcast_object_list(held, src=0, device=self.device)
        return held[0]

    def any(self, flag: bool) -> bool:  # noqa: FBT001 - it is what is asked about
        """Whether a flag is set on any rank; all ranks call it."""
        if self.count == 1:
            return flag
        found = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return bool(found)


ALONE = Ranks()
"""One process, which trains alone."""


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Context manager that joins the other processes of `torchrun`, if it started this one.

    Raises:
        JobError: If a machine has more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        if local >= torch.cuda.device_count():
            raise JobError(
                where="torchrun --nproc_per_node",
                found=f"found more than {torch.cuda.device_count()}",
                allowed="one process for each GPU of this machine",
            )
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if has_gpus else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), local)
    finally:
        distributed.destroy_process_group()
