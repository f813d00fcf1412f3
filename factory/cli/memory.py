"""A limited address space (`ulimit -v`): whether it suffices, and which errors it causes."""

import errno
import resource
import sys

from factory.errors import FactoryError

_LEAST_MIB = 1024
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"
_THREADS = "can't start new thread"
_REMEDY = "raise the limit, or lift it with `ulimit -v unlimited`"


def check_address_space() -> None:
    """Require that a process may use as many addresses as torch's libraries take.

    They end a process that cannot have them, from code that no Python error comes out of.

    Raises:
        FactoryError: If `ulimit -v` is lower.
    """
    limit_mib = _limit_mib()
    if limit_mib is not None and limit_mib < _LEAST_MIB:
        raise FactoryError(
            where="out of memory",
            found=f"this process may use {limit_mib:,} MiB of addresses (ulimit -v), and torch's "
            f"libraries take {_LEAST_MIB:,}",
            remedy=_REMEDY,
        )


def explain_address_space(error: Exception) -> str:
    """The message for an error that the limit may have caused; empty for others, or without one."""
    limit_mib = _limit_mib()
    if limit_mib is None or not wants_memory(error):
        return ""
    last = (str(error).strip().splitlines() or ["there is no more"])[-1]
    return (
        f"out of memory: this process may use {limit_mib:,} MiB of addresses (ulimit -v): "
        f"{last}; {_REMEDY}"
    )


def wants_memory(error: Exception) -> bool:
    """Whether an error may be caused by a limited address space."""
    if isinstance(error, OSError):  # the dynamic loader sets no errno
        return error.errno in (None, errno.ENOMEM)
    torch = sys.modules.get("torch")  # not imported for this: an error of torch comes from torch
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError):
        # Only allocators of GPUs raise torch.OutOfMemoryError. That of the CPU, and Python where a
        # thread cannot start, raise a plain RuntimeError that nothing but its text distinguishes.
        return _CPU_ALLOCATOR in str(error) or _THREADS in str(error)
    return isinstance(error, (MemoryError, ImportError, SystemError))


def _limit_mib() -> int | None:
    """The limit of `ulimit -v` in MiB; None if it is not set."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft // 2**20
