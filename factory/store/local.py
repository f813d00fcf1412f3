"""A store in a local folder: temporary file, fsync, hard link to the final name, fsync of the folder.

A hard link cannot replace a file, which makes creation atomic and exclusive on every POSIX file
system; `rename` would silently overwrite what another run has created.
"""

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from factory.errors import StoreError
from factory.provenance import new_run_id, run_is_dead
from factory.store.base import TEMPORARY, BinaryFile, StoredFile
from factory.store.failures import check_read_whole, explained, leads_nowhere


class LocalStore:
    """A dataset in the folder `root`; the methods are documented in `base.Store`."""

    def __init__(self, root: str, *, single_writer: bool = False) -> None:
        """Use the folder `root`, which is created on the first write.

        With `single_writer` a file system without hard links is accepted.
        """
        self._single_writer = single_writer
        self.root = Path(root).expanduser().absolute()
        self.uri = str(self.root)

    def create(self, path: str, data: bytes) -> bool:
        """Create a file atomically; False (and no change) if it exists."""
        target = self._inside(path)
        with explained(target):
            return not target.is_file() and self._link(self._stage(data), target)

    def publish(self, path: str, file: Path) -> bool:
        """Move a finished, synced file to `path` atomically; False if that exists."""
        target = self._inside(path)
        with explained(target):
            return self._link(file, target)

    def replace(self, path: str, data: bytes | BinaryFile) -> None:
        """Write or overwrite a file atomically with `data`, or with all of an open file."""
        target = self._inside(path)
        with explained(target):
            staged = self._stage(data)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                staged.replace(target)
            except OSError:
                staged.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def read(self, path: str) -> bytes | None:
        """Read a file; None if it does not exist."""
        target = self._inside(path)
        with explained(target):
            # A dataset of unknown origin may contain pipes and devices: opening one would block.
            if not target.is_file():
                return None
            check_read_whole(str(target), target.stat().st_size)
            return target.read_bytes()

    def read_part(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """Read a part of a file, less where the file ends; None if it does not exist."""
        target = self._inside(path)
        with explained(target):
            try:
                # Opening a pipe would block: a dataset of unknown origin may hold one.
                if not target.is_file():
                    return None
                with target.open("rb", buffering=0) as file:
                    return os.pread(file.fileno(), size_bytes, offset)
            except (FileNotFoundError, NotADirectoryError):
                return None

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path | None]:
        """The file itself; None if it does not exist."""
        target = self._inside(path)
        yield target if target.is_file() else None

    def size_of(self, path: str) -> int | None:
        """A file's size in bytes; None if it does not exist."""
        target = self._inside(path)
        with explained(target):
            try:
                return target.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def remove(self, path: str) -> None:
        """Delete a file; idempotent."""
        target = self._inside(path)
        with explained(target):
            if target.is_file() or target.is_symlink():
                self._check_removable(path, target)
                target.unlink(missing_ok=True)
                _sync_folder(target.parent)

    def names(self, folder: str, splits: Sequence[str] = ()) -> list[str]:  # noqa: ARG002
        """Paths of all files below `folder`, sorted; `splits` are not needed here."""
        start = len(f"{self.root}/")
        with explained(self.root / folder):
            return sorted(
                entry.path[start:] for entry in _walk(f"{self.root}/{folder}".rstrip("/"))
            )

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below `folder` with size and time, sorted by path."""
        for name in self.names(folder):
            with suppress(FileNotFoundError):  # deleted since the listing
                facts = (self.root / name).stat()
                yield StoredFile(name, facts.st_size, facts.st_mtime)

    def find_foreign_entry(self, known: Collection[str]) -> str | None:
        """The name of an entry at the root that is not in `known`; None if there is none."""
        with explained(self.root):
            try:
                names = sorted(path.name for path in self.root.iterdir())
            except FileNotFoundError:
                if any(map(leads_nowhere, (self.root, *self.root.parents))):
                    raise
                return None
        return next((name for name in names if name not in known), None)

    def work_folder(self, run_id: str) -> Path:
        """`tmp/RUN_ID` on the same file system as the data, so that publishing is a link, not a copy."""
        folder = self.root / TEMPORARY / run_id
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clean_up(self, run_id: str) -> None:
        """Remove unfinished files of `run_id` and of dead runs of this host."""
        folder = self.root / TEMPORARY
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if path.name == run_id or run_is_dead(path.name):
                _remove(path)
        try:
            folder.rmdir()
        except OSError:
            return  # another run is using it

    def leftovers(self) -> list[StoredFile]:
        """Every file below `tmp/`."""
        return list(self.files(TEMPORARY))

    def discard(self, leftover: StoredFile) -> None:
        """Remove one of `leftovers`, and folders that become empty."""
        self.remove(leftover.path)
        with suppress(OSError):  # a folder that is not empty stays
            for parent in (self.root / leftover.path).parents:
                if parent == self.root:
                    return
                parent.rmdir()

    def _inside(self, path: str) -> Path:
        """The path of a file; a name that leads out of the folder is refused.

        Raises:
            StoreError: If it would.
        """
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or parts[0] == "/" or "\0" in path:
            raise StoreError(f"{self.uri}: {path!r} is no name of a file in this folder")
        return self.root / path

    def _check_removable(self, path: str, target: Path) -> None:
        """A folder that is a link may lie on another disk; in a dataset of unknown origin, anywhere.

        Raises:
            StoreError: If the file's folder lies outside.
        """
        if not target.parent.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(
                f"{self.uri}/{path}: lies behind a link that leads out of the dataset; remove it by "
                "hand if it is yours"
            )

    def _stage(self, data: bytes | BinaryFile) -> Path:
        folder = self.root / TEMPORARY
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / new_run_id()
        try:
            with staged.open("xb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data.seek(0)
                    shutil.copyfileobj(data, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            staged.unlink(missing_ok=True)
            raise
        return staged

    def _link(self, staged: Path, target: Path) -> bool:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._single_writer:
                _link(staged, target)
            elif target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            else:
                staged.replace(target)
        except FileExistsError:
            if not target.is_file():
                raise
            return False
        finally:
            staged.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return True


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Iterate over all files below `folder`; scandir, because pathlib is too slow for a million."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # A folder that was moved to another disk and linked is part of the dataset; one that
                # leads back up would never end.
                if entry.is_dir() and not (entry.is_symlink() and _leads_up(entry.path)):
                    yield from _walk(entry.path)
                elif entry.is_file():
                    yield entry
                elif entry.is_symlink() and "." not in entry.name:
                    yield from _walk(entry.path)  # a folder on a disk that is away
    except (FileNotFoundError, NotADirectoryError):
        # Without its disk a dataset would look empty, and be made once more.
        if leads_nowhere(Path(folder)):
            raise OSError(errno.ENOLINK, os.strerror(errno.ENOLINK), folder) from None


def _leads_up(link: str) -> bool:
    return Path(link).absolute().is_relative_to(os.path.realpath(link))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _link(staged: Path, target: Path) -> None:
    """Link, and say of a file system without hard links (FAT, some of FUSE) that it has none.

    They answer EPERM; a folder without permission answers EACCES.
    """
    try:
        os.link(staged, target)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error


def _sync_folder(folder: Path) -> None:
    # Without this a crash can lose the new name, although the file's content was synced.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
