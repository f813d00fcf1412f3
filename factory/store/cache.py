"""The local cache: files that can be fetched or computed again. Deleting it loses time, never data."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The cache folder `name`, below `$XDG_CACHE_HOME/maskfactory` or `~/.cache/maskfactory`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "maskfactory" / name
