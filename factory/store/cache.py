"""The local cache: files that can be fetched or computed again. Deleting it loses time, never data."""

import os
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The cache folder `name`, below `$XDG_CACHE_HOME/maskfactory` or `~/.cache/maskfactory`.

    A user without a home, as in many containers, has it below the folder for temporary files.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser()
    except RuntimeError:
        folder = Path(tempfile.gettempdir(), f"cache-{os.getuid()}")
    return folder / "maskfactory" / name
