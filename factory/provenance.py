"""Provenance of bytes: library versions and the machine. The libraries are not imported."""

import os
import platform
import secrets
import socket
import zlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DECIDING = ("maskfactory", "torch", "numpy", "pillow", "safetensors")
"""Distributions whose version can change a byte of a dataset."""


def own_version() -> str:
    """Version of this distribution; `unknown` if the package is used without having been installed."""
    try:
        return version(DECIDING[0])
    except PackageNotFoundError:
        return "unknown"


@cache
def find_versions() -> dict[str, str]:
    """Versions of Python and of every distribution that can change a byte."""
    found = {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    for name in DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def cpu_name() -> str:
    """The processor's model, as the system states it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def worker_name() -> str:
    """Host and process, e.g. `node7/4711`."""
    return f"{socket.gethostname()}/{os.getpid()}"


def new_run_id() -> str:
    """Create a unique id for a run: host, process and eight random hex digits.

    Host and process let a later run on the same host detect that the run is dead.
    """
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def run_is_dead(run_id: str) -> bool:
    """Whether the run's process on this host has ended; False for other hosts, where it is unknown."""
    host, pid, _ = [*run_id.rsplit("-", 2), "", ""][:3]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it exists, and belongs to another user
    return False
