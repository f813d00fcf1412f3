"""A tar of PNG files and a list of their names, as it lies beside a dataset."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from factory.pack.tar import encode_end, encode_files, read_members

_LONGEST_NAME = 64


def short_name(name: str) -> str:
    """A name as facts of samples tell it; `?` for bytes of a file's name that are not UTF-8."""
    return name[:_LONGEST_NAME].encode("utf-8", "replace").decode()


def encode_pictures(listing: str, names: Sequence[str], files: Sequence[bytes]) -> bytes:
    """The tar of PNG `files`; equal files with equal names give equal bytes.

    `listing` is the tar's first file, which holds the names.
    """
    listed = (json.dumps(list(names)) + "\n").encode()
    pictures = [(f"{place:06d}.png", data) for place, data in enumerate(files)]
    packed = encode_files([(listing, listed), *pictures])
    return packed + encode_end(len(packed))


def read_pictures(
    path: Path, listing: str, *, most: int, check: Callable[[bytes], None]
) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """Read such a tar, which anybody may have written: the names, and the PNG files.

    Args:
        path: The file.
        listing: Name of the tar's first file.
        most: Pictures that it may hold.
        check: Raises a `ValueError` for a PNG that may not be in it.

    Raises:
        ValueError: If it is not one.
    """
    try:
        members = []
        for member in read_members(path):
            members.append(member)
            if len(members) > most + 1:
                raise ValueError(f"more than {most:,} of them")
        (first, listed), pictures = members[0], members[1:]
        names = json.loads(listed)
        if first != listing or not isinstance(names, list) or len(names) != len(pictures):
            raise ValueError("it does not name what it holds")
        if not pictures or not all(isinstance(name, str) for name in names):
            raise ValueError("it holds none")
        for _, data in pictures:
            check(data)
    except (IndexError, RecursionError) as error:
        raise ValueError("it holds none, or its list has no end") from error
    return tuple(map(short_name, names)), tuple(data for _, data in pictures)
