"""Test what a store supports, with files below `_probe/` that are removed afterwards."""

import base64
import email.utils
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Literal
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from factory.errors import StoreError, sentence
from factory.provenance import new_run_id
from factory.store.local import LocalStore
from factory.store.s3 import PROBES, S3Store
from factory.store.s3_calls import answer_of

_NUM_WRITERS = 8
_MOST_SKEW_S = 60.0
_IGNORED = (
    "this server ignores conditions: two runs could overwrite each other's shards",
    "use another server or a folder, or set output.single_writer: true (one run at a time)",
)

CheckKind = Literal["machine", "output", "cluster"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    kind: CheckKind
    """What it belongs to."""
    name: str
    """Its name, for messages."""
    state: Literal["ok", "warning", "fails"]
    """`fails` = a run would fail."""
    found: str
    """What was found."""
    remedy: str = ""
    """What to do; empty if all is well."""


def probe_local(store: LocalStore, *, single_writer: bool) -> Iterator[Check]:
    """Test a folder's file system. The folder is left unchanged."""
    is_new = not store.root.exists()
    path = f"{PROBES}/{new_run_id()}"
    try:
        succeeded = _count_successes(lambda data: store.create(path, data))
        skew_s = (store.root / path).stat().st_mtime - time.time()
        yield _verdict("exclusive create", succeeded, single_writer=single_writer)
        yield _clock(skew_s, "the file system's clock")
    except StoreError as error:
        yield _failure("write", error)
    finally:
        with suppress(OSError, StoreError):
            store.remove(path)
            (store.root / PROBES).rmdir()
            store.clean_up("")
            if is_new:
                store.root.rmdir()


def probe_s3(store: S3Store, *, single_writer: bool) -> Iterator[Check]:
    """Test an S3 server."""
    calls = store.calls
    path = f"{PROBES}/{new_run_id()}"
    try:
        started = time.monotonic()
        answer = calls.with_retries("", lambda: calls.client.head_bucket(Bucket=calls.bucket))
        ms = (time.monotonic() - started) * 1000
        host = urlsplit(calls.client.meta.endpoint_url).hostname  # the rest may hold a secret
        yield Check("output", "reach", "ok", f"{host} answers in {ms:.0f} ms")
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        with suppress(TypeError, ValueError):
            there = email.utils.parsedate_to_datetime(date).timestamp()
            yield _clock(there - time.time(), "the server's clock")
        try:
            yield from _probe_writes(store, path, single_writer=single_writer)
        finally:
            for name in (path, f"{path}-parts", f"{path}-sum"):
                store.remove(name)
    except StoreError as error:
        yield _failure("reach", error)


def _probe_writes(store: S3Store, path: str, *, single_writer: bool) -> Iterator[Check]:
    succeeded = _count_successes(lambda data: _succeeds(lambda: store.put_new(path, BytesIO(data))))
    yield _verdict("exclusive create", succeeded, single_writer=single_writer)
    parts = f"{path}-parts"
    succeeded = _count_successes(
        lambda data: _succeeds(lambda: store.upload_new(parts, BytesIO(data)))
    )
    late = _succeeds(lambda: store.upload_new(parts, BytesIO(b"late")))
    if late or succeeded == 0:
        yield _verdict("exclusive parts", _NUM_WRITERS, single_writer=single_writer)
    elif succeeded > 1:
        yield Check(
            "output",
            "exclusive parts",
            "warning",
            f"{succeeded} of {_NUM_WRITERS} concurrent uploads succeed; a later one does not",
            "harmless while all workers have the same libraries: concurrent uploads are equal bytes",
        )
    else:
        yield _verdict("exclusive parts", succeeded, single_writer=single_writer)
    yield _checksums(store, f"{path}-sum")


def _checksums(store: S3Store, path: str) -> Check:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    put = store.calls.client.put_object
    request = store.calls.at(path) | {"Body": b"bytes", "ChecksumSHA256": wrong}
    if _succeeds(lambda: put(**request)):
        return Check(
            "output",
            "checksums",
            "warning",
            "a body that does not match its SHA-256 is accepted",
            "damage on the way is only found by `factory verify`: run it after each job",
        )
    return Check("output", "checksums", "ok", "a body that does not match its SHA-256 is refused")


def _verdict(name: str, succeeded: int, *, single_writer: bool) -> Check:
    if succeeded == 1:
        return Check("output", name, "ok", f"1 of {_NUM_WRITERS} concurrent writes succeeds")
    found, remedy = _IGNORED
    if single_writer:
        return Check(
            "output", name, "ok", "conditions are ignored, and output.single_writer is true"
        )
    return Check(
        "output",
        name,
        "fails",
        f"{succeeded} of {_NUM_WRITERS} concurrent writes succeed: {found}",
        remedy,
    )


def _clock(skew_s: float, whose: str) -> Check:
    found = f"{whose} differs by {abs(skew_s):.0f} s"
    if abs(skew_s) <= _MOST_SKEW_S:
        return Check("output", "clock", "ok", found)
    remedy = "set this machine's clock (S3 refuses requests that are 15 minutes off)"
    return Check("output", "clock", "warning" if abs(skew_s) < 900 else "fails", found, remedy)


def _count_successes(write: Callable[[bytes], bool]) -> int:
    """Let several threads create one name concurrently; returns the number of reported successes."""
    with ThreadPoolExecutor(_NUM_WRITERS) as threads:
        return sum(threads.map(write, [b"%d" % writer for writer in range(_NUM_WRITERS)]))


def _succeeds(write: Callable[[], object]) -> bool:
    """Whether a write is accepted, in one attempt; a 409 (conflict, retry) is retried."""
    while True:
        try:
            write()
        except ClientError as error:
            if answer_of(error)[0] != 409:
                return False
        except BotoCoreError:
            return False
        else:
            return True


def _failure(name: str, error: StoreError) -> Check:
    found = sentence(error.where, error.found, error.allowed)
    return Check("output", name, "fails", found, error.remedy)
