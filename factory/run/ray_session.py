"""Connect to a Ray cluster, or start one on this machine, and compute its capacity for workers."""

import logging
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from factory.errors import PluginError
from factory.run.devices import num_gpus_here, with_gpus
from factory.run.drive import describe
from factory.spec import RunSpec

_LONGEST_FOLDER = 32
_LONGEST_CHOSEN = 38
"""A socket's path has at most 107 bytes, and Ray puts up to 69 behind the chosen folder's."""
_KNOCK_S = 10
_OBJECT_STORE_BYTES = 128 * 2**20  # records only: Ray's default of 30 % of memory would be wasted
_LOCAL = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def cluster_capacity(run: RunSpec) -> int:
    """The number of actors that `run` would get.

    Raises:
        PluginError: If the cluster cannot be reached, or cannot hold them.
    """
    with joined_cluster(run):
        return num_actors_of(decided(run))


def actors_on(nodes: Sequence[Mapping[str, float]], run: RunSpec) -> int:
    """The number of actors of `run` that fit nodes with these resources, each on one node."""
    gpus = with_gpus(run, sum(node.get("GPU", 0.0) for node in nodes)).gpus_per_actor
    share = 0.0 if gpus == "auto" else float(gpus)
    needed = {"CPU": float(run.threads_per_actor), "GPU": share, **run.resources}
    needed = {name: amount for name, amount in needed.items() if amount > 0}
    return sum(
        min(
            _times(float(node.get(name, 0.0)), float(amount), name)
            for name, amount in needed.items()
        )
        for node in nodes
    )


def _times(there: float, amount: float, name: str) -> int:
    """How often `amount` of a resource can be taken; a part of a GPU lies on one GPU."""
    # A third of a GPU three times is a whole one, whatever the rounding of floats says.
    if name == "GPU" and amount < 1:
        return int(there) * int(1 / amount + 1e-6)
    return int(there / amount + 1e-6)


def _nodes() -> list[dict[str, float]]:
    """The resources of each node that is there."""
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [entry["Resources"] for entry in entries if entry["Alive"]]


def decided(run: RunSpec) -> RunSpec:
    """`run` with `gpus_per_actor: auto` decided by the GPUs of the cluster."""
    gpus = sum(node.get("GPU", 0.0) for node in _nodes())
    # Ray counts the GPUs of this machine that its PyTorch may not be able to compute on.
    return with_gpus(run, gpus if run.address else min(gpus, num_gpus_here()))


def workers_per_machine(run: RunSpec) -> int:
    """The most actors of `run` that one node of the cluster holds."""
    most = max((actors_on([node], run) for node in _nodes()), default=1)
    return max(1, most if run.num_actors == "auto" else min(most, run.num_actors))


def actors_that_fit(run: RunSpec) -> int:
    """The number of actors of `run` that the cluster can hold now."""
    return actors_on(_nodes(), run)


def actors_to_start(run: RunSpec) -> int:
    """The number of actors that a run may start: those that fit, or that nodes may still come for."""
    # An actor that fits nowhere waits, and Ray's autoscaler adds a node for it: a cluster of no worker
    # would never grow if only what fits were started.
    return run.max_actors or actors_that_fit(run)


def num_actors_of(run: RunSpec) -> int:
    """The number of actors of a run: what the job asks for, or what the cluster can hold.

    Raises:
        PluginError: If the cluster cannot hold them; Ray would wait forever.
    """
    most = actors_to_start(run)
    wanted = most if run.num_actors == "auto" else run.num_actors
    if not 0 < wanted <= most:
        nodes = _nodes()
        total = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
        custom = "".join(f" and {n:g} {name}" for name, n in run.resources.items())
        raise PluginError(
            where="run",
            found=f"{max(wanted, 1)} actors with {run.threads_per_actor} CPUs and "
            f"{run.gpus_per_actor} GPUs{custom} each do not fit this cluster ({total['CPU']:g} CPUs, "
            f"{total['GPU']:g} GPUs)",
            remedy="lower run.num_actors, run.threads_per_actor or run.gpus_per_actor, or add nodes; "
            "if the cluster adds them on demand, set run.max_actors",
        )
    return wanted


def _knock(address: str | None) -> None:
    """Fail within seconds if no server listens at `address`; Ray itself retries for many minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS")  # which Ray asks first
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _short_folder() -> str | None:
    """A folder for Ray's sockets, if the one for temporary files has too long a name for them.

    Raises:
        PluginError: If the user has chosen one that is too long, which Ray would prefer.
    """
    chosen = os.environ.get("RAY_TMPDIR")
    if chosen and len(os.fsencode(chosen)) > _LONGEST_CHOSEN:
        raise PluginError(
            where="RAY_TMPDIR",
            found=f"{chosen} has too long a name for Ray's sockets",
            allowed=f"at most {_LONGEST_CHOSEN} bytes",
            remedy="set it to a short folder, such as /tmp",
        )
    if chosen or len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return None
    folder = Path(f"/tmp/ray-{os.getuid()}")  # noqa: S108 - every system has it, and nothing shorter
    with suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    # Whoever owns the folder could stand between this process and its workers.
    return str(folder) if is_ours else tempfile.mkdtemp(prefix="ray-", dir=folder.parent)


@contextmanager
def joined_cluster(run: RunSpec) -> Iterator[None]:
    """Context manager that connects to the job's cluster, or starts one on this machine."""
    for name, value in _LOCAL.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if run.address is None:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        if (short := _short_folder()) is not None:
            options["_temp_dir"] = short
        options["address"] = "local"  # otherwise Ray joins any cluster that runs on this machine
        wanted = run.num_actors if isinstance(run.num_actors, int) else 0
        needed = wanted * run.threads_per_actor
        options["num_cpus"] = max(os.cpu_count() or 1, needed)
    else:
        options["address"] = run.address
    try:
        _knock(run.address)
        ray.init(**options)
    except (ValueError, RuntimeError, OSError) as error:
        place = run.address or "this machine"
        raise PluginError(
            where="run.address",
            found=f"cannot reach a Ray cluster at {place!r} ({describe(error)})",
            remedy="start one with `ray start --head`, or use run.executor: inline; one that asks for "
            "a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here as well",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
