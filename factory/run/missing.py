"""What a job needs that is not here: each with the exit code with which a run would end for it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from factory.errors import FactoryError, JobError, PluginError, StoreError
from factory.run import CLUSTER_CAPACITY
from factory.run.devices import no_gpu_here
from factory.run.notify import resolve_variable
from factory.spec import GeneratorSpec, JobSpec, RunSpec
from factory.store.addresses import local_path

NO_PAGE = (
    "run.serve_port: found with executor: inline; the live page needs executor: ray, and "
    "`factory serve` shows a dataset beside any run"
)
"""Why an inline run with a page is refused."""
_GPU_DEVICES = ("/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""Devices of CUDA, of CUDA below WSL, and of ROCm: torch knows better, and planning does not load it."""


_SINKS = ("tensorboard", "mlflow")
"""Settings of `run` that need the library of that name, which is an extra too."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something without which the job cannot run here."""

    what: str
    """What is missing, and what to do."""
    exit_code: int
    """How a run would end."""


def find_missing(
    spec: JobSpec, output_error: FactoryError | None, failure: FactoryError | None = None
) -> tuple[Missing, ...]:
    """What is missing for `spec`, in the order in which a run would find it.

    Args:
        spec: The job.
        output_error: Why the output cannot be reached; None if it can.
        failure: Why not even a few batches could be made; None if they could.
    """
    found = [_missing(output_error)] if output_error is not None else []
    generator = spec.dataset.generator
    if must_fetch(generator) and generator.sha256 is None:
        what = "a download needs it; get the file once, and `factory inspect FILE` prints it"
        found.append(Missing(f"dataset.generator.sha256: {what}", JobError.exit_code))
    if (cluster := _missing_cluster(spec.run)) is not None:
        found.append(cluster)
    wants_gpu = spec.run.gpus_per_actor not in ("auto", 0)
    if wants_gpu and spec.run.address is None and not has_gpu():
        found.append(_missing(no_gpu_here()))
    elif failure is not None and not (wants_gpu and spec.run.address is not None):
        found.append(_missing(failure))
    try:
        check_sinks(spec.run)
    except FactoryError as error:
        found.append(_missing(error))
    found += _missing_room(spec.output.uri)
    found += _missing_workers(spec.run)
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


def must_fetch(generator: GeneratorSpec) -> bool:
    """Whether the weights are at an address: a run fetches them, if they are not here yet."""
    return "://" in generator.weights and not generator.weights.lower().startswith("file:")


def nearest_folder(folder: Path) -> Path:
    """`folder`, or the first one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _missing_room(uri: str) -> Iterator[Missing]:
    """A local folder into which nothing can be written."""
    folder = local_path(uri)
    if folder is None:
        return
    nearest = nearest_folder(folder)
    is_writable = (
        os.access(nearest, os.W_OK) and os.statvfs(nearest).f_blocks
    )  # /proc has no blocks
    if not is_writable or not nearest.is_dir():
        what = f"output.uri: no file can be written at {nearest}; choose another folder"
        yield Missing(what, StoreError.exit_code)


def _missing_workers(run: RunSpec) -> Iterator[Missing]:
    """What stands in the way of the workers, as far as it is known without asking a cluster."""
    if run.executor == "inline":
        if run.serve_port is not None:
            yield Missing(NO_PAGE, JobError.exit_code)
        return
    if run.address is not None:
        return
    cores = os.cpu_count() or 1
    if run.resources:
        named = ", ".join(run.resources)
        what = f"run.resources: this machine alone has no {named}; name a cluster in run.address"
        yield Missing(what, PluginError.exit_code)
    elif run.num_actors == "auto" and run.threads_per_actor > cores:
        what = f"run.threads_per_actor: found {run.threads_per_actor}, and this machine has {cores} CPUs"
        yield Missing(f"{what}; lower it", PluginError.exit_code)


def check_sinks(run: RunSpec) -> None:
    """Require the libraries of the sinks that a job names, and the address of one in the environment.

    Raises:
        PluginError: If a library is not installed.
        JobError: If the variable is not set.
    """
    resolve_variable(run.mlflow, "run.mlflow")
    for setting in _SINKS:
        if getattr(run, setting) is not None and find_spec(setting) is None:
            raise PluginError(
                where=f"run.{setting}",
                found=f"needs {setting}, which is not installed here",
                remedy=f"pip install 'maskfactory[{setting}]', or leave the setting out",
            )
