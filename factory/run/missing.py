"""What a job needs that is not here: each with the exit code with which a run would end for it."""

from dataclasses import dataclass
from pathlib import Path

from factory.errors import FactoryError, JobError, PluginError
from factory.spec import JobSpec

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
        found.append(Missing(str(output_error), output_error.exit_code))
    generator = spec.dataset.generator
    if generator.weights.lower().startswith("https://") and generator.sha256 is None:
        found.append(
            Missing(
                "dataset.generator.sha256: a download needs it; get the file once, and `factory inspect "
                "FILE` prints it",
                JobError.exit_code,
            )
        )
    wants = spec.run.gpus_per_actor not in ("auto", 0)
    if wants and spec.run.address is None and not has_gpu():
        found.append(
            Missing(
                "run.gpus_per_actor: this machine has no GPU; set it to 0, or run.address to a cluster "
                "that has some",
                PluginError.exit_code,
            )
        )
    return tuple(found)


def has_gpu() -> bool:
    """Whether this machine has the device of a GPU."""
    return any(Path(device).exists() for device in _GPU_DEVICES)
