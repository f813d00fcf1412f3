"""Atomic writes of single files outside of any dataset."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from factory.errors import JobError

_STAGED = re.compile(r"\..+\.[0-9a-f]{8}")
"""Names of temporary files: see `_staged_name`."""


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically; a pipe or device is written to directly.

    Raises:
        JobError: If it cannot be written; an existing file is then unchanged.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        with staged_file(target) as file:
            file.write(data)
    except OSError as error:
        raise JobError(f"{path}: cannot write ({error.strerror}); give another path") from error


def create_file(path: Path, data: bytes) -> bool:
    """Create `path` atomically with `data`; False (and no change) if something is there.

    Raises:
        OSError: If it cannot be written.
    """
    staged = _staged_name(path)
    try:
        staged.write_bytes(data)
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError as error:
        # File systems of memory cards have no links, and nobody else writes to one.
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        if path.exists():
            return False
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    return True


def make_folder(folder: Path) -> None:
    """Make a folder of a user's, and those that it lies in, unless it is there.

    Raises:
        JobError: If it cannot be made.
    """
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Context manager that turns failures to write into a user's folder into a `JobError`.

    Raises:
        JobError: If the block raises an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise JobError(f"{folder}: cannot write ({error.strerror}); give another folder") from error


@contextmanager
def staged_file(target: Path) -> Iterator[BinaryIO]:
    """Context manager for a temporary file that replaces `target` if the block succeeds.

    Raises:
        OSError: If it cannot be written.
    """
    staged = _staged_name(target)
    try:
        with staged.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)


def remove_staged(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder; nobody else may write there.

    Raises:
        OSError: If one cannot be removed.
    """
    for path in folder.glob(".*") if folder.is_dir() else ():
        if _STAGED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _staged_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}")
