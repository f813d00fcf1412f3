"""One file that a command was asked for, outside of any dataset: readers see the old or the new."""

import os
import secrets
from pathlib import Path

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
        staged = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with staged.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise JobError(f"{path}: cannot write ({error.strerror}); give another path") from error
