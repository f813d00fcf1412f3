"""List a bucket below a prefix: objects, common prefixes, and incomplete uploads."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from factory.store.base import StoredFile
from factory.store.s3_calls import THREADS, S3Calls


def list_entries(
    calls: S3Calls, below: str, **options: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over paths (and common prefixes, if requested by `options`) with S3's attributes."""
    query = {"Bucket": calls.bucket, "Prefix": f"{calls.root}{below}", **options}
    while True:
        page = calls.with_retries(below, lambda: calls.client.list_objects_v2(**query))
        entries = [*page.get("CommonPrefixes", ()), *page.get("Contents", ())]
        found = [(entry.get("Prefix") or entry["Key"], entry) for entry in entries]
        found.sort(key=lambda item: item[0])
        yield from ((key.removeprefix(calls.root), entry) for key, entry in found)
        if not page.get("IsTruncated"):
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def list_names(calls: S3Calls, below: str, splits: Sequence[str]) -> list[str]:
    """Paths of all objects; the ranges between `splits` are listed concurrently.

    S3 lists pages of 1,000 one after another, so that a long listing is slow unless it is divided.
    """

    def list_piece(piece: tuple[str, str]) -> list[str]:
        after, last = piece
        options = {"StartAfter": f"{calls.root}{after}"} if after else {}
        found = []
        for key, _ in list_entries(calls, below, **options):
            if last and key > last:
                break
            found.append(key)
        return found

    pieces = list(zip(["", *splits], [*splits, ""], strict=True))
    with ThreadPoolExecutor(min(THREADS, len(pieces))) as threads:
        keys = [key for piece in threads.map(list_piece, pieces) for key in piece]
    # Keys that end in "/" are placeholders for folders, which web consoles create.
    return sorted(key for key in keys if not key.endswith("/"))


def list_files(calls: S3Calls, below: str) -> Iterator[StoredFile]:
    """All objects with size and time, page by page."""
    for key, entry in list_entries(calls, below):
        if not key.endswith("/"):
            yield StoredFile(key, entry["Size"], entry["LastModified"].timestamp())


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
