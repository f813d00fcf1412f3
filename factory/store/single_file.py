"""One file outside of any dataset, replaced whole: readers see the old or the new."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from factory.errors import JobError


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`; what is no ordinary file there (a pipe, say) is written into.

    Raises:
        JobError: If it cannot be written; what was there is still there.
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


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """A block that makes a folder that a user named, or writes files into it.

    Raises:
        JobError: If it cannot.
    """
    try:
        yield
    except OSError as error:
        raise JobError(f"{folder}: cannot write ({error.strerror}); give another folder") from error


@contextmanager
def staged_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `target` once the block has ended well; else nothing changes.

    Raises:
        OSError: If it cannot be written.
    """
    staged = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with staged.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)
