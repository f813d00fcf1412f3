"""Redaction: remove credentials from addresses, and escape control characters.

Applied to errors and log lines when they are created, to files that are stored with a dataset, and to
every line that a command prints.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

_ADDRESS = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/+)(?P<rest>\S*)")
_QUERY = re.compile(r"(?:[?&]|%3[Ff]|%26)[^\s?&=]{0,256}?(?:=|%3[Dd])\S*")
"""A query without its address, as in the messages of the standard library; also percent-encoded, as in
an address that was copied out of another one."""
_LOGIN = re.compile(r"(?<!\w)[\w.+-]+:[^\s/@:]+@(?=[\w.-]+)")
"""A name and a password before a host, as proxies are often written, also behind two slashes."""
_SPACED_LOGIN = re.compile(r"(?<=://)[^\s/@:]+:[^\n/@]{1,256}@(?=[\w.-]+)")
"""The same in an address, with spaces in the password, at which an address ends."""
_PARAMETERS = re.compile(r";[\w.-]+=[^\s/?#;]*")
"""What some servers take behind a semicolon, such as the number of a session."""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^:@\[\]]*)(?::(?:[0-9]*|port|PORT))?")
"""A host and its number, or the word for it in our own advice; what else follows a colon is hidden."""
_CLOSING = re.compile(r"""["'`;,.:)\]}>]*$""")
"""What stands behind an address in a sentence and does not belong to it."""
_HOME = re.compile(r"(?<![\w/])/(?:home|Users)/[^/\s'\"]+")
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and newline; what turns the direction of writing; halves of characters."""


def redact(text: str) -> str:
    """Remove user, password, query and fragment from every address in `text`.

    >>> redact("cannot get https://me:pw@host:8080/a.pt?X-Amz-Signature=1f; try again")
    'cannot get https://host:8080/a.pt; try again'
    """
    plain = _ADDRESS.sub(_plain_address, _SPACED_LOGIN.sub("", text))
    return _LOGIN.sub("", _QUERY.sub(_keep_closing, plain))


def without_folders(text: str, *roots: str) -> str:
    """Remove the folders of people from text that is published: paths below `roots` are relative.

    >>> without_folders("no file /data/out/a.tar, nor /home/anna/b.pt", "/data/out")
    'no file a.tar, nor ~/b.pt'
    """
    for root in roots:
        text = text.replace(root.rstrip("/") + "/", "") if root.startswith("/") else text
    home = os.path.expanduser("~")  # noqa: PTH111 - a text, and `Path` raises where there is none
    return _HOME.sub("~", text.replace(home, "~") if len(home) > 1 else text)


def printable(text: str) -> str:
    r"""`text` with every character that a terminal would obey written as an escape, such as `\x1b`."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object) -> str:
    """A value as text for display: redacted and printable."""
    return printable(redact(str(value)))


def redact_values(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Redact every string in a plain JSON or YAML value; keys are unchanged."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_values(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_values(inner) for inner in value]
    return value


def _plain_address(found: re.Match[str]) -> str:
    closing = _closing(found["rest"])
    rest = found["rest"].removesuffix(closing)
    before_query = _PARAMETERS.sub("", re.split(r"[?#]", rest, maxsplit=1)[0])
    authority, slash, path = before_query.partition("/")
    if _HOST.fullmatch(authority.rpartition("@")[2]):
        authority = authority.rpartition("@")[2]
    else:  # a password with a slash in it, say: nothing up to the last @ is a host
        _, at, behind = before_query.rpartition("@")
        authority, slash, path = behind.partition("/") if at else (behind.split(":")[0], "", "")
    return f"{found['scheme']}:{found['slashes']}{authority}{slash}{path}{closing}"


def _keep_closing(found: re.Match[str]) -> str:
    return _closing(found[0])


def _closing(text: str) -> str:
    match = _CLOSING.search(text)
    return match[0] if match else ""
