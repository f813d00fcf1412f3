"""Parse the pages of a listing of a bucket, 1,000 objects each, twenty times as fast as botocore."""

import html
import re
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

LISTED = "before-parse.*.ListObjectsV2"
"""The event of botocore at which `parse_page` is to be called.

Handlers of patterns with an asterisk come first, and of these the one with the earliest: botocore's own
at `before-parse.s3.*` parses the whole page to see whether it is an error, and should find no objects.
"""

_FIRST, _LAST = b"<Contents>", b"</Contents>"
_FIELDS = [
    re.compile(f"<{name}>({value})</{name}>")
    for name, value in (("Key", "[^<]*"), ("Size", r"\d{1,15}"), ("LastModified", "[^<]*"))
]
_PARSED = "ParsedObjects"


class Objects(NamedTuple):
    """The objects of a page: a list for each attribute, because a million small objects take long."""

    keys: list[str]
    """Their keys."""
    sizes: list[int]
    """Their bytes."""
    times: list[datetime]
    """When they were written."""


def objects_of(page: dict[str, Any]) -> Objects:
    """The objects of a page of a listing, whoever parsed it."""
    parsed = page.get(_PARSED)
    if parsed is None:
        entries = page.get("Contents", ())
        return Objects(
            *([entry[name] for entry in entries] for name in ("Key", "Size", "LastModified"))
        )
    found: Objects = parsed
    if page.get("EncodingType") == "url":  # botocore asks for it, and undoes it where it parses
        found = found._replace(keys=[unquote_plus(key) for key in found.keys])
    return found


def parse_page(
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **_: object,
) -> None:
    """Take the objects out of a page, before botocore parses what is left of it.

    A page of another form than expected is left to botocore as it is.
    """
    body = response_dict["body"]
    if response_dict["status_code"] != 200 or not isinstance(body, bytes):
        return
    first, end = body.find(_FIRST), body.rfind(_LAST) + len(_LAST)
    entries = body[first:end] if first >= 0 else b""
    pieces = entries.split(_LAST)[:-1]
    # Between two objects may be other elements, which would be lost with what is cut out.
    if not pieces or not all(piece.lstrip().startswith(_FIRST) for piece in pieces):
        return
    try:
        keys, sizes, times = (pattern.findall(entries.decode()) for pattern in _FIELDS)
        written = [datetime.fromisoformat(time) for time in times]
    except ValueError:
        return
    if not len(keys) == len(sizes) == len(written) == len(pieces):
        return
    found = Objects([html.unescape(key) for key in keys], [int(size) for size in sizes], written)
    customized_response_dict[_PARSED] = found
    response_dict["body"] = body[:first] + body[end:]
