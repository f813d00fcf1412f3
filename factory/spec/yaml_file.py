"""Read a YAML file of bounded size as a mapping."""

import re
from pathlib import Path
from typing import Any

from factory.errors import JobError
from factory.spec.yaml_text import parse_yaml

_MOST_BYTES = 2**20
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")

_WORDS: dict[type, str] = {
    type(None): "nothing",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
}
"""What a document is that is no mapping."""


def load_yaml(path: Path, *, noun: str, keys: str) -> dict[str, Any]:
    """Read the mapping in a YAML file; errors call it a `noun` with `keys`.

    Raises:
        JobError: If the file cannot be read, is not YAML, or holds something else.
    """
    try:
        document = parse_yaml(_read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        refuse_address(path, noun=noun)
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise JobError(where=str(path), found=f"cannot read the {noun} ({reason})") from error
    except ValueError as error:
        raise JobError(where=str(path), found=str(error)) from error
    if not isinstance(document, dict):
        found = next(
            (word for kind, word in _WORDS.items() if isinstance(document, kind)), "a value"
        )
        raise JobError(
            where=str(path), found=f"found {found}", allowed=f"a {noun} is a mapping with {keys}"
        )
    return document


def refuse_address(path: Path, *, noun: str) -> None:
    """Refuse an address, such as s3://bucket/job.yaml, where a local file is needed and none was found.

    Errors call the file a `noun`.

    Raises:
        JobError: If `path` is an address.
    """
    match = _ADDRESS.match(str(path))
    if match is None:
        return
    scheme, rest = match[1].lower(), str(path)[match.end() :]
    is_here = scheme == "file"
    raise JobError(
        # `Path` has made one slash of two.
        where=f"{scheme}:///{rest}" if is_here else f"{scheme}://{rest}",
        found="found an address",
        allowed=f"a {noun} is a local file",
        remedy="write its path without file://"
        if is_here
        else "download it first (`factory grow`, and commands that read a dataset, such as "
        "`factory status`, take the dataset's address)",
    )


def _read_text(path: Path) -> str:
    """Read a file's text, or that of a shell's pipe (`<(...)`), up to a limit.

    Raises:
        OSError, UnicodeDecodeError: If it cannot be read, or is not text.
        ValueError: If it is longer than the limit, or a named pipe without a writer would block.
    """
    if path.is_fifo() and not path.is_relative_to("/dev") and not path.is_relative_to("/proc"):
        raise ValueError("found a named pipe; give a file")
    # One byte more than allowed is read, whatever the file claims to be: a device has no size.
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"found more than {_MOST_BYTES:,} bytes; give a YAML file")
    return data.decode("utf-8")
