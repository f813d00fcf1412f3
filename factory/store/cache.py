"""Where this machine keeps what can be made or fetched again. Deleting it costs time, never data."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder for things called `name`: below `$XDG_CACHE_HOME/maskfactory` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "maskfactory" / name
