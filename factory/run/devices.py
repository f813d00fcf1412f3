"""Which device workers compute on, and how many of them share this machine."""

import os
from importlib import import_module
from pathlib import Path

from factory.errors import PluginError
from factory.spec import RunSpec

_GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd")


def num_gpus_here() -> int:
    """The GPUs of this machine that PyTorch can compute on."""
    # A driver without GPUs should not import torch for this: that takes a second or two.
    if not any(list(Path("/").glob(name[1:])) for name in _GPU_FILES):
        return 0
    # By name, so that planning does not depend on torch.
    found: int = import_module("torch").cuda.device_count()
    return found


def num_cores_here() -> int:
    """The CPU cores that this process may use: a container or a batch system may have bound it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_gpus(run: RunSpec, num_gpus: float) -> RunSpec:
    """`run` with `gpus_per_actor: auto` decided: one GPU per worker if there are `num_gpus`."""
    if run.gpus_per_actor != "auto":
        return run
    return run.model_copy(update={"gpus_per_actor": 1.0 if num_gpus >= 1 else 0.0})


def gpu_share(run: RunSpec) -> float:
    """The GPUs per worker, where `auto` is decided by this machine."""
    if run.gpus_per_actor != "auto":
        return run.gpus_per_actor
    return 1.0 if num_gpus_here() else 0.0


def no_gpu_here() -> PluginError:
    """The error where a GPU of this machine is asked for, and there is none."""
    return PluginError(
        where="run.gpus_per_actor",
        found="this machine has no GPU that PyTorch can compute on",
        remedy="set it to 0, or run.address to a cluster that has some",
    )


def num_workers_here(run: RunSpec) -> int:
    """The workers of a run without a cluster of its own: what the job asks for, or what fits."""
    if isinstance(run.num_actors, int):
        return run.num_actors
    by_cpu = num_cores_here() // run.threads_per_actor
    share = gpu_share(run)
    return max(1, min(by_cpu, int(num_gpus_here() / share)) if share else by_cpu)


def num_encoders(run: RunSpec, *, is_gpu: bool, num_workers: int, is_small: bool = False) -> int:
    """The encode threads of a worker that shares this machine with `num_workers` - 1 others.

    With a GPU, all cores that fall to the worker encode. On the CPU the cores that its compute threads
    leave idle do; without any, or if batches are so small that handing them over takes longer
    (`is_small`), compute threads encode their own.
    """
    if run.encode_threads != "auto":
        return run.encode_threads
    share = num_cores_here() // max(1, num_workers)
    if is_gpu:
        return max(1, share)
    return 0 if is_small else max(0, share - run.threads_per_actor)
