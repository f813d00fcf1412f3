"""Copies of shards from a bucket on this machine's disk, up to a size, for all its processes.

A copy is named by the SHA-256 of its receipt, so that datasets share copies and an old one is never
taken for a new one. Names change under the folder's lock alone. A copy that is being written or read is
locked too, by the process that does so: the system lifts the lock of one that was killed.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from logging import WARNING
from pathlib import Path
from typing import Protocol, runtime_checkable

from factory.errors import JobError, kind_in_words
from factory.log import log_event
from factory.manifest.records import ShardRecord
from factory.store import Store
from factory.store.cache import cache_folder

CACHE_BYTES = 10 * 2**30
"""By default, the most that is kept."""

_WHOLE, _PART = ".tar", ".part"


@runtime_checkable
class RemoteStore(Protocol):
    """A store whose files are on another machine."""

    def download(self, path: str, sink: BufferedRandom) -> bool:
        """Write a file to `sink` from its beginning; False if it does not exist."""


class ShardCache:
    """The copies of shards, and which shards a reader has compared with their receipts."""

    def __init__(self, bound_bytes: int = 0) -> None:
        """Keep up to `bound_bytes` of shards from remote stores; 0 = none.

        Raises:
            JobError: If it is negative.
        """
        if bound_bytes < 0:
            raise JobError(
                where="cache_bytes", found=f"found {bound_bytes}", allowed="0 (no cache) or more"
            )
        self.bound_bytes = bound_bytes
        self.compared: set[str] = set()
        """Paths of shards that were compared, and are not digested again."""

    def open(self, store: Store, record: ShardRecord) -> BufferedRandom | None:
        """Open the copy of a shard, downloaded and compared with its receipt where needed.

        Until the file is closed, no process removes the copy.

        Returns:
            None if there can be none: the store is a folder, the shard is too large, other copies are in
            use, the disk is full, or what the store holds is not what the receipt says.

        Raises:
            StoreError: If the store fails.
        """
        if not isinstance(store, RemoteStore) or record.size_bytes > self.bound_bytes:
            return None
        folder = cache_folder("shards")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return self._open_in(folder, store, record)
        except OSError as error:
            reason = error.strerror or kind_in_words(error)
            log_event("shard_cache_not_used", level=WARNING, folder=folder, reason=reason)
            return None

    def _open_in(
        self, folder: Path, store: RemoteStore, record: ShardRecord
    ) -> BufferedRandom | None:
        whole = folder / f"{record.sha256}{_WHOLE}"
        # The name holds the size, which is reserved from the first byte on.
        part = folder / f"{record.sha256}.{record.size_bytes}{_PART}"
        while True:
            with _locked(folder):
                file = _open_locked(whole, fcntl.LOCK_SH)
                staged = None if file else _open_locked(part, fcntl.LOCK_EX, create=True)
                if staged is not None and not self._has_room(folder, part, staged):
                    return None
            if staged is not None:
                return _download(store, record, staged, part, whole)
            if file is None:
                _wait_for(part)
            elif _is_whole(file, record, is_compared=record.path in self.compared):
                os.utime(file.fileno())  # the copies used last are removed last
                return file
            else:
                with _locked(folder):  # damaged since it was written
                    _remove_and_close(whole, file)

    def _has_room(self, folder: Path, part: Path, staged: BufferedRandom) -> bool:
        is_kept = False
        try:
            is_kept = self._make_room(folder)
        finally:
            if not is_kept:
                _remove_and_close(part, staged)
        return is_kept

    def _make_room(self, folder: Path) -> bool:
        """Remove the copies used longest ago until the bound is kept; False if it cannot be."""
        found = [*folder.glob(f"*{_PART}"), *folder.glob(f"*{_WHOLE}")]
        used_at = {path: path.stat().st_mtime for path in found}
        sizes = {path: _size_of(path) for path in found}
        total = sum(sizes.values())
        on_disk = sum(path.stat().st_size for path in found)
        bound = min(self.bound_bytes, on_disk + shutil.disk_usage(folder).free // 2)
        # Parts of killed processes first: those of living ones are locked.
        for path in sorted(found, key=lambda path: (path.suffix == _WHOLE, used_at[path])):
            if total <= bound:
                break
            unused = _open_locked(path, fcntl.LOCK_EX)
            if unused is not None:
                _remove_and_close(path, unused)
                total -= sizes[path]
        return total <= bound


def _size_of(path: Path) -> int:
    return int(path.name.split(".")[1]) if path.suffix == _PART else path.stat().st_size


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:  # closing does not unlock it for a process that was forked meanwhile
            fcntl.flock(file, fcntl.LOCK_UN)


def _open_locked(path: Path, kind: int, *, create: bool = False) -> BufferedRandom | None:
    """Open a file and lock it; None if it is not there, or locked by another one."""
    try:
        file = path.open("a+b" if create else "r+b")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _wait_for(part: Path) -> None:
    """Wait until nobody writes a part any more."""
    try:
        with part.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            fcntl.flock(file, fcntl.LOCK_UN)
    except FileNotFoundError:
        return


def _download(
    store: RemoteStore, record: ShardRecord, staged: BufferedRandom, part: Path, whole: Path
) -> BufferedRandom | None:
    """Fill a part and make it a copy, which is in use; None if it is not what the receipt says."""
    is_right = False
    try:
        if store.download(record.path, staged):
            staged.flush()
            is_right = _is_whole(staged, record)
    finally:
        with _locked(part.parent):
            if is_right:
                part.replace(whole)
                fcntl.flock(staged, fcntl.LOCK_SH)
            else:
                _remove_and_close(part, staged)
    return staged if is_right else None


def _remove_and_close(path: Path, file: BufferedRandom) -> None:
    """Remove a copy, unless another process has done so and made a new one."""
    try:
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            path.unlink()
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
        file.close()


def _is_whole(file: BufferedRandom, record: ShardRecord, *, is_compared: bool = False) -> bool:
    """Whether a file has the size of a receipt, and its SHA-256 unless that was compared before."""
    if os.fstat(file.fileno()).st_size != record.size_bytes:
        return False
    file.seek(0)
    return is_compared or hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
