"""Failed operations on local files, told with what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from factory.errors import StoreError

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
