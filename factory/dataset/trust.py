"""Refuse jobs stored in datasets that name code: a dataset may be of unknown origin.

A job file of the user may name a `module:attribute`, which is imported and run. A job that is stored in
a dataset is data: it may only name built-in and installed plugins.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.errors import PluginError
from factory.manifest.paths import round_path
from factory.spec import RunSpec
from factory.spec.stored_job import TELLS

_NAMES_A_PROGRAM = ("kind", "detector")
"""Settings whose value can be a `module:attribute`."""


def is_stored_job(path: Path) -> bool:
    """Whether a job file lies in a dataset's folder, whatever its name."""
    return (path.absolute().parent / round_path(0)).is_file()


def check_stored_job(document: dict[str, Any], source: str, *, remedy: str) -> None:
    """Require that a job of a dataset names no `module:attribute`.

    Raises:
        PluginError: If it does.
    """
    for path, name in _programs(document, ""):
        raise PluginError(
            where=f"{source}: {path}",
            found=f"names the program {name!r}, and a job that lies in a dataset runs none",
            remedy=remedy,
        )


def check_stored_places(run: RunSpec, source: str) -> None:
    """Require that the `run` section of a job in a dataset names no place to compute at or to tell.

    A Ray cluster can run code in whoever joins it; `auto` is the user's own.

    Raises:
        PluginError: If it does.
    """
    named = {"address": run.address, **{name: getattr(run, name) for name in TELLS}}
    for name, value in named.items():
        if value not in (None, "auto"):
            raise PluginError(
                where=f"{source}: run.{name}",
                found="names a place, and a job that lies in a dataset may be anyone's",
                remedy="use a copy of the job outside of the dataset, or `factory grow` with "
                f"--set run.{name}=...",
            )


def _programs(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if key in _NAMES_A_PROGRAM and isinstance(inner, str) and ":" in inner:
                yield place, inner
            yield from _programs(inner, place)
    elif isinstance(value, list):
        for inner in value:
            yield from _programs(inner, path)
