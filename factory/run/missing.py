"""What a job needs that is not here: each with the exit code with which a run would end for it."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from factory.errors import FactoryError, JobError, PluginError
from factory.run import CLUSTER_CAPACITY
from factory.run.devices import no_gpu_here
from factory.spec import JobSpec, RunSpec

_GPU_DEVICES = ("/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""Devices of CUDA, of CUDA below WSL, and of ROCm: torch knows better, and planning does not load it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something without which the job cannot run here."""

    what: str
    """What is missing, and what to do."""
    exit_code: int
    """How a run would end."""


def find_missing(spec: JobSpec, output_error: FactoryError | None) -> tuple[Missing, ...]:
    """What is missing for `spec`, in the order in which a run would find it.

    Args:
        spec: The job.
        output_error: Why the output cannot be reached; None if it can.
    """
    found: list[Missing] = []
    if output_error is not None:
        found.append(_missing(output_error))
    generator = spec.dataset.generator
    if generator.weights.lower().startswith("https://") and generator.sha256 is None:
        found.append(
            Missing(
                "dataset.generator.sha256: a download needs it; get the file once, and `factory inspect "
                "FILE` prints it",
                JobError.exit_code,
            )
        )
    if (cluster := _missing_cluster(spec.run)) is not None:
        found.append(cluster)
    wants = spec.run.gpus_per_actor not in ("auto", 0)
    if wants and spec.run.address is None and not has_gpu():
        found.append(_missing(no_gpu_here()))
    return tuple(found)


def _missing(error: FactoryError) -> Missing:
    return Missing(str(error), error.exit_code)


def _missing_cluster(run: RunSpec) -> Missing | None:
    """Why the cluster of a job cannot hold its workers, with their GPUs; None if it can."""
    if run.executor != "ray" or run.address is None:
        return None
    module, _, name = CLUSTER_CAPACITY.partition(":")
    try:
        getattr(import_module(module), name)(run)
    except PluginError as error:
        return _missing(error)
    return None


def has_gpu() -> bool:
    """Whether this machine has the device of a GPU."""
    return any(Path(device).exists() for device in _GPU_DEVICES)
