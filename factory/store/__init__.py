"""Where datasets are kept. A store promises: a file is absent or whole (`base.py`)."""

from factory.errors import StoreError
from factory.store.base import Store
from factory.store.local import LocalStore

__all__ = ["LocalStore", "Store", "open_store"]


def open_store(uri: str) -> Store:
    """The store at `uri`: a local folder (a path or `file://`).

    Raises:
        StoreError: If the scheme is not one we can write to.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalStore(uri)
    if scheme == "file":
        return LocalStore(rest)
    raise StoreError(
        f"output.uri: found {uri!r}; this version writes to local folders (a path or file://); "
        "give a folder here and copy it to the bucket afterwards"
    )
