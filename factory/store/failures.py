"""Failed operations on files, and files too large to be read whole, told with what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from factory.errors import DamageError, StoreError

MOST_READ_BYTES = 2**30
"""Of a file that is read into memory at once. Tars are not."""

_REMEDY = {
    errno.ENOSPC: "free some space and run the command again: everything committed is kept",
    errno.EDQUOT: "free some quota and run the command again: everything committed is kept",
    errno.EACCES: "give yourself write permission, or choose another output.uri",
    errno.EPERM: "give yourself write permission, or choose another output.uri",
    errno.EROFS: "mount it writable, or choose another output.uri",
    **dict.fromkeys(
        (errno.EMLINK, errno.ENOTSUP, errno.ENOSYS),
        "no hard links here: if one run at a time writes, say so with output.single_writer: true",
    ),
    errno.ENOTDIR: "choose an output.uri whose parents are folders",
}


def explain_os_error(path: Path, error: OSError) -> StoreError:
    """Explain a failed file operation: what failed at `path`, and the remedy."""
    failed = Path(error.filename) if isinstance(error.filename, str) else path
    places = (failed, *failed.parents, path, *path.parents)
    link = next((place for place in places if leads_nowhere(place)), None)
    if link is not None:
        return StoreError(
            where=str(link),
            found=f"a link to {link.readlink()}, which is not there",
            remedy="mount it or make that folder, or remove the link; then run the command again",
        )
    return StoreError(
        where=str(path),
        found=(error.strerror or str(error)).lower(),
        remedy=_REMEDY.get(error.errno or 0, "mend it and run the command again"),
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Context manager for file operations at `path`.

    Raises:
        StoreError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise explain_os_error(path, error) from error


def leads_nowhere(path: Path) -> bool:
    """Whether `path` is a link to something that is not there, such as a disk that is away."""
    try:
        return path.is_symlink() and not path.exists()
    except OSError:
        return False


def check_read_whole(where: str, size_bytes: int) -> None:
    """Make sure that a file is not too large to be read into memory, as no file of ours is.

    Raises:
        DamageError: If it is: with holes, 40 GB take no room on a disk.
    """
    if size_bytes > MOST_READ_BYTES:
        raise DamageError(
            where=where,
            found=f"{size_bytes:,} bytes",
            allowed=f"no file of a dataset that is read whole has more than {MOST_READ_BYTES:,}",
            remedy="delete it and run the job again",
        )


class WholeFile(BytesIO):
    """What is read of a file; more than a file of ours has is refused as it comes."""

    def __init__(self, where: str) -> None:
        """Collect nothing so far; `where` names the file in errors."""
        super().__init__()
        self._where = where

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever BytesIO takes
        """Add what came.

        Raises:
            DamageError: If the file is too large.
        """
        check_read_whole(self._where, self.tell() + len(data))
        return super().write(data)
