"""List a bucket below a prefix: objects, common prefixes, and incomplete uploads."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from factory.store.base import StoredFile
from factory.store.s3_calls import THREADS, S3Calls
from factory.store.s3_pages import objects_of


def list_prefixes(calls: S3Calls) -> list[str]:
    """The names at the root: of objects, and of what others share a beginning up to a slash."""
    found = []
    for page in _pages(calls, "", Delimiter="/"):
        found += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        found += objects_of(page).keys
    return [key.removeprefix(calls.root) for key in sorted(found)]


def list_names(calls: S3Calls, below: str, splits: Sequence[str]) -> list[str]:
    """Paths of all objects; the ranges between `splits` are listed concurrently.

    S3 lists pages of 1,000 one after another, so that a long listing is slow unless it is divided.
    """

    def list_piece(piece: tuple[str, str]) -> list[str]:
        after, last = piece
        options = {"StartAfter": f"{calls.root}{after}"} if after else {}
        found: list[str] = []
        for page in _pages(calls, below, **options):
            names = [key.removeprefix(calls.root) for key in objects_of(page).keys]
            found += names
            if last and max(names, default="") > last:
                return [name for name in found if name <= last]
        return found

    pieces = list(zip(["", *splits], [*splits, ""], strict=True))
    with ThreadPoolExecutor(min(THREADS, len(pieces))) as threads:
        names = [name for piece in threads.map(list_piece, pieces) for name in piece]
    # Keys that end in "/" are placeholders for folders, which web consoles create.
    return sorted(name for name in names if not name.endswith("/"))


def list_files(calls: S3Calls, below: str) -> Iterator[StoredFile]:
    """All objects with size and time, page by page."""
    for page in _pages(calls, below):
        found = objects_of(page)
        for key, size_bytes, changed_at in sorted(
            zip(found.keys, found.sizes, found.times, strict=True)
        ):
            if not key.endswith("/"):
                name = key.removeprefix(calls.root)
                yield StoredFile(name, size_bytes, changed_at.timestamp())


def _pages(calls: S3Calls, below: str, **options: str) -> Iterator[dict[str, Any]]:
    query = {"Bucket": calls.bucket, "Prefix": f"{calls.root}{below}", **options}
    while True:
        page: dict[str, Any]
        page = calls.with_retries(below, lambda: calls.client.list_objects_v2(**query))
        yield page
        if not page.get("IsTruncated"):
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def list_uploads(calls: S3Calls) -> Iterator[StoredFile]:
    """Multipart uploads that were neither completed nor aborted."""
    query = {"Bucket": calls.bucket, "Prefix": calls.root}
    while True:
        page = calls.with_retries("", partial(calls.client.list_multipart_uploads, **query))
        for entry in page.get("Uploads", ()):
            path = entry["Key"].removeprefix(calls.root)
            yield StoredFile(path, 0, entry["Initiated"].timestamp(), upload_id=entry["UploadId"])
        if not page.get("IsTruncated"):
            return
        query |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
