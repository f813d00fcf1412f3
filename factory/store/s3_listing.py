"""What lies below a place in a bucket: objects, common prefixes, and uploads not completed."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from factory.store.base import StoredFile
from factory.store.s3_calls import THREADS, S3Calls


def list_entries(
    calls: S3Calls, below: str, **options: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Paths, and common prefixes if `options` ask for them, page by page, with what S3 tells."""
    query = {"Bucket": calls.bucket, "Prefix": f"{calls.root}{below}", **options}
    while True:
        page = calls.send(below, lambda: calls.client.list_objects_v2(**query))
        entries = [*page.get("CommonPrefixes", ()), *page.get("Contents", ())]
        found = [(entry.get("Prefix") or entry["Key"], entry) for entry in entries]
        found.sort(key=lambda item: item[0])
        yield from ((key.removeprefix(calls.root), entry) for key, entry in found)
        if not page.get("IsTruncated"):
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def list_names(calls: S3Calls, below: str, splits: Sequence[str]) -> list[str]:
    """Paths of all objects; the pieces between `splits` are listed side by side."""

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
    with ThreadPoolExecutor(min(THREADS, len(pieces))) as pool:
        keys = [key for piece in pool.map(list_piece, pieces) for key in piece]
    return sorted(key for key in keys if not key.endswith("/"))  # consoles write such "folders"


def list_files(calls: S3Calls, below: str) -> list[StoredFile]:
    """All objects with size and time."""
    return [
        StoredFile(key, entry["Size"], entry["LastModified"].timestamp())
        for key, entry in list_entries(calls, below)
        if not key.endswith("/")
    ]


def list_uploads(calls: S3Calls) -> Iterator[StoredFile]:
    """Uploads that were begun and neither completed nor aborted."""
    query = {"Bucket": calls.bucket, "Prefix": calls.root}
    while True:
        page = calls.send("", partial(calls.client.list_multipart_uploads, **query))
        for entry in page.get("Uploads", ()):
            path = entry["Key"].removeprefix(calls.root)
            yield StoredFile(path, 0, entry["Initiated"].timestamp(), upload_id=entry["UploadId"])
        if not page.get("IsTruncated"):
            return
        query |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
