"""Preflight checks: everything a run needs, with a remedy for each failure."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from factory.errors import FactoryError, PluginError, sentence
from factory.provenance import DECIDING
from factory.run import CLUSTER_CAPACITY
from factory.spec import JobSpec, RunSpec
from factory.store import LocalStore, open_store
from factory.store.cache import cache_folder
from factory.store.probe import Check, probe_local, probe_s3

_SHM = Path("/dev/shm")  # noqa: S108 - where Ray keeps its objects
_LEAST_SHM_BYTES = 128 * 2**20
_LEAST_FREE_BYTES = 2**30
_NEEDED = (*DECIDING, "ray", "pyarrow", "boto3")


def examine(spec: JobSpec | None) -> Iterator[Check]:
    """Run all checks of this machine and, with a job, those of its output and cluster."""
    yield _versions()
    yield _shared_memory()
    yield _free_space("temporary files", Path(tempfile.gettempdir()))
    yield _cache()
    if spec is not None:
        yield from _output(spec)
        yield _gpu(spec.run)
        if spec.run.executor == "ray":
            yield _actors(spec.run)


def _versions() -> Check:
    found, missing = [], []
    for name in _NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    python = ".".join(map(str, sys.version_info[:3]))
    if missing:
        remedy = "pip install maskfactory"
        return Check("machine", "versions", "fails", f"not installed: {', '.join(missing)}", remedy)
    return Check("machine", "versions", "ok", f"python {python}, {', '.join(found)}")


def _shared_memory() -> Check:
    if not _SHM.is_dir():
        return Check("machine", str(_SHM), "ok", "not on this system")
    size = shutil.disk_usage(_SHM).total
    found = f"{size / 2**20:,.0f} MiB"
    if size >= _LEAST_SHM_BYTES:
        return Check("machine", str(_SHM), "ok", found)
    remedy = "give the container --shm-size=256m: Ray falls back to /tmp"
    return Check("machine", str(_SHM), "warning", found, remedy)


def _free_space(name: str, folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:,.1f} GiB free at {folder}"
    if free >= _LEAST_FREE_BYTES:
        return Check("machine", f"disk: {name}", "ok", found)
    remedy = "free some space: a worker keeps two shards there"
    return Check("machine", f"disk: {name}", "warning", found, remedy)


def _cache() -> Check:
    folder = cache_folder("doctor").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "set XDG_CACHE_HOME to a folder that can be written"
        return Check("machine", "cache", "fails", f"{folder}: {error.strerror}", remedy)
    return Check("machine", "cache", "ok", str(folder))


def _output(spec: JobSpec) -> Iterator[Check]:
    single_writer = spec.output.single_writer
    try:
        store = open_store(spec.output.uri, single_writer=single_writer)
    except FactoryError as error:
        found = sentence(error.where, error.found, error.allowed)
        yield Check("output", "output", "fails", found, error.remedy or "correct output.uri")
        return
    probe = probe_local if isinstance(store, LocalStore) else probe_s3
    for check in probe(store, single_writer=single_writer):  # type: ignore[arg-type]
        yield replace(check, name=f"output: {check.name}")
    if isinstance(store, LocalStore):
        yield replace(_free_space("output", store.root), kind="output")


def _gpu(run: RunSpec) -> Check:
    import torch

    num_gpus = torch.cuda.device_count()
    is_auto = run.gpus_per_actor == "auto"
    if is_auto and num_gpus == 0 and run.address is None:
        return Check("machine", "gpu", "ok", "none in sight: workers compute on the CPU")
    if run.gpus_per_actor == 0:
        return Check("machine", "gpu", "ok", f"not asked for; this machine has {num_gpus}")
    if num_gpus == 0 and run.address is None:
        remedy = "set run.gpus_per_actor: 0, or run.address to a cluster that has some"
        return Check(
            "machine", "gpu", "fails", "run.gpus_per_actor asks for one; torch finds none", remedy
        )
    names = {torch.cuda.get_device_name(index) for index in range(num_gpus)}
    found = f"{num_gpus} here ({', '.join(sorted(names)) or 'the cluster decides'})"
    if is_auto and num_gpus:
        found += ": workers compute on them; run.gpus_per_actor: 0 is the CPU"
    return Check("machine", "gpu", "ok", found)


def _actors(run: RunSpec) -> Check:
    module, _, name = CLUSTER_CAPACITY.partition(":")
    try:
        found = getattr(import_module(module), name)(run)
    except PluginError as error:
        found = sentence(error.where, error.found, error.allowed)
        return Check("cluster", "workers", "fails", found, error.remedy)
    here = (
        f"{os.cpu_count()} CPUs on {socket.gethostname()}" if run.address is None else run.address
    )
    return Check(
        "cluster", "workers", "ok", f"{found} of {run.threads_per_actor} CPUs each fit ({here})"
    )
