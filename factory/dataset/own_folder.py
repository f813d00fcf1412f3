"""A dataset's folder is its own: other outputs are written neither into it nor below it."""

import os
from pathlib import Path

from factory.errors import JobError
from factory.manifest.paths import round_path
from factory.store import LocalStore, Store


def enclosing_dataset(path: Path) -> Path | None:
    """The folder of the dataset that `path` is or lies in, wherever links lead; None if in none."""
    real = Path(os.path.realpath(path))
    return next((folder for folder in (real, *real.parents) if _holds_plan(folder)), None)


def check_outside(path: Path, option: str) -> None:
    """Require that an output is no dataset's folder, and does not lie in one.

    What no receipt names there is damage to `factory verify`, and may be removed by `factory gc`.

    Raises:
        JobError: If it is, or does; `option` is the command's option that names the output.
    """
    holder = enclosing_dataset(path)
    if holder is None:
        return
    kind = "holds" if holder == Path(os.path.realpath(path)) else "lies in"
    raise JobError(
        where=option, found=f"{path} {kind} a dataset", remedy="choose a path outside of it"
    )


def check_new_dataset(store: Store) -> None:
    """Require that a dataset that is to be begun in `store` does not lie in the folder of another one.

    Raises:
        JobError: If it does.
    """
    if isinstance(store, LocalStore):
        check_outside(store.root, "output.uri")


def _holds_plan(folder: Path) -> bool:
    try:
        return (folder / round_path(0)).is_file()
    except PermissionError:  # what cannot be looked into cannot be written into, either
        return False
