"""The addresses that people write: which of them name a place on this machine, and which a server's.

Nothing here looks whether something is there.
"""

import re
from pathlib import Path
from urllib.parse import unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/*)")
_KNOWN = {
    "s3",
    "s3a",
    "s3n",
    "gs",
    "gcs",
    "az",
    "abfs",
    "hf",
    "http",
    "https",
    "file",
    "ftp",
    "hdfs",
}


def split_address(address: str) -> tuple[str, str]:
    """The scheme of an address, in small letters, and what follows `://`; "" and a path if it is one.

    Raises:
        ValueError: If it would be taken for a path though a server was meant, or holds a user,
            password or query, which no store takes from there.
    """
    match = _SCHEME.match(address)
    if match is None:
        return "", address
    scheme, slashes = match[1].lower(), match[2]
    if slashes and re.search(r"\s", address):
        if scheme == "s3":  # where %20 would be three characters of a key
            raise ValueError("found an address of S3 with a space in it; choose a prefix without")
        raise ValueError("found an address with a space in it; write %20 for it")
    if not slashes.startswith("//"):
        if slashes or scheme in _KNOWN:
            rest = address[match.end() :]
            raise ValueError(
                f"found {address!r}; two slashes belong behind the colon: {scheme}://{rest}; of a path "
                f"whose first name has a colon, write ./{address}"
            )
        return "", address
    rest = address[match.end(1) + len("://") :]
    if scheme == "file":
        return "", _path_of_file(address, rest)
    if scheme == "s3" and ("@" in rest.partition("/")[0] or "?" in rest or "#" in rest):
        raise ValueError(
            f"found {address!r} with a user, a query or a fragment; give s3://bucket/prefix alone: "
            "credentials and endpoint come from where AWS tools look for them (AWS_PROFILE, "
            "AWS_ENDPOINT_URL)"
        )
    return scheme, rest


def local_path(address: str) -> Path | None:
    """The path that an address names on this machine; None if it is one of a server.

    Raises:
        ValueError: If it is neither.
    """
    scheme, rest = split_address(address)
    if scheme:
        return None
    try:
        return Path(rest).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"found {address!r}, but nothing says where that home is; write it out"
        ) from error


def _path_of_file(address: str, rest: str) -> str:
    host, slash, _ = rest.partition("/")
    if not slash or host not in ("", "localhost"):
        raise ValueError(
            f"found {address!r}, where {host or 'nothing'!r} is the name of a machine; a place on this "
            f"one is file:///{rest.lstrip('/')}"
        )
    if "?" in rest or "#" in rest:
        raise ValueError(
            f"found {address!r} with a query or a fragment; write a path without file://"
        )
    path = unquote(rest.removeprefix(host))
    if "\0" in path:
        raise ValueError(f"found {address!r}, which holds a zero character; leave it out")
    return path
