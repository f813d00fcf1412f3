"""Read a YAML file that a person wrote, of bounded size, as a mapping."""

from pathlib import Path
from typing import Any

from factory.errors import JobError
from factory.spec.yaml_text import parse_yaml

_MOST_BYTES = 2**20


def load_yaml(path: Path, *, noun: str, keys: str) -> dict[str, Any]:
    """The mapping in a YAML file, which errors call a `noun` with `keys`.

    Raises:
        JobError: If the file cannot be read, is not YAML, or holds something else.
    """
    try:
        document = parse_yaml(_read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise JobError(f"{path}: cannot read the {noun} ({reason})") from error
    except ValueError as error:
        raise JobError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        found = "nothing" if document is None else type(document).__name__
        raise JobError(
            where=str(path), found=f"found {found}", allowed=f"a {noun} is a mapping with {keys}"
        )
    return document


def _read_text(path: Path) -> str:
    """A file's text, or what comes out of a pipe; no more than a job can have, whatever it is.

    Raises:
        OSError, UnicodeDecodeError: If it cannot be read, or is not text.
        ValueError: If it is longer than a job can be, or nobody will ever write it.
    """
    if path.is_fifo() and not path.is_relative_to("/dev") and not path.is_relative_to("/proc"):
        raise ValueError("found a named pipe; give a file")
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"found more than {_MOST_BYTES:,} bytes; give a YAML file")
    return data.decode("utf-8")
