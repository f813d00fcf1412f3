"""Where many datasets lie side by side: a local folder, or a prefix of a bucket.

Names are only looked up among what is there; a dataset is a direct subfolder with a plan. Links to
folders elsewhere and hidden folders are none.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from factory.manifest.paths import round_path
from factory.store import LocalStore, Store
from factory.store.s3 import S3Store
from factory.store.s3_listing import list_prefixes

_MOST_ENTRIES = 10_000
"""Entries of a root that are looked at."""
_KEPT_S = 30.0
_ASKED_AT_ONCE = 16


class FolderRoot:
    """The datasets directly inside a local folder; none if it is no folder."""

    def __init__(self, folder: Path) -> None:
        """Look into `folder`, anew at every call."""
        self.uri, self._folder = str(folder), folder

    def names(self) -> list[str]:
        """Names of the datasets, sorted."""
        return sorted(entry.name for entry in self._entries() if _is_dataset(entry))

    def has(self, name: str) -> bool:
        """Whether one of them has this name; no other folder is looked into."""
        return any(entry.name == name and _is_dataset(entry) for entry in self._entries())

    def open(self, name: str) -> Store:
        """The store of one that is there."""
        return LocalStore(str(self._folder / name))

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._folder) as entries:
                yield from islice(entries, _MOST_ENTRIES)
        except OSError:
            return


def _is_dataset(entry: os.DirEntry[str]) -> bool:
    is_ours = not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    return is_ours and (Path(entry.path) / round_path(0)).is_file()


class BucketRoot:
    """The datasets directly below a prefix of a bucket; each look at it is kept for half a minute.

    A bucket cannot say which folders hold a plan: each one is asked for.
    """

    def __init__(self, store: S3Store) -> None:
        """Look at the folders of `store`."""
        self.uri, self._store = store.uri, store
        self._known: dict[str, bool] = {}
        self._looked_at = -_KEPT_S

    def names(self) -> list[str]:
        """Names of the datasets, sorted."""
        if time.monotonic() - self._looked_at >= _KEPT_S:
            found = [name for name in islice(self._folders(), _MOST_ENTRIES) if _is_name(name)]
            with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
                self._known = dict(zip(found, pool.map(self._has_plan, found), strict=True))
            self._looked_at = time.monotonic()
        return sorted(name for name, is_dataset in self._known.items() if is_dataset)

    def has(self, name: str) -> bool:
        """Whether one of them had this name at the last look."""
        return name in self.names()

    def open(self, name: str) -> Store:
        """The store of one that is there."""
        return S3Store(f"{self.uri}/{name}")

    def _folders(self) -> Iterator[str]:
        names = list_prefixes(self._store.calls)
        return (name.rstrip("/") for name in names if name.endswith("/"))

    def _has_plan(self, name: str) -> bool:
        return self._store.size_of(f"{name}/{round_path(0)}") is not None


Root = FolderRoot | BucketRoot
"""Where many datasets lie."""


def root_of(store: Store) -> Root | None:
    """The datasets directly below where a dataset could lie; None if there is neither plan nor any."""
    if store.size_of(round_path(0)) is not None:
        return None
    root: Root | None = None
    if isinstance(store, LocalStore):
        root = FolderRoot(store.root)
    elif isinstance(store, S3Store):
        root = BucketRoot(store)
    return root if root and root.names() else None


def _is_name(name: str) -> bool:
    """Whether an address may end with it: no folder in a folder, and nothing that means another."""
    return (
        bool(name)
        and not name.startswith(".")
        and not set("/?#@") & set(name)
        and name.isprintable()
    )
