"""Find out what a store does, by doing it: below `_probe/`, and nothing of it stays."""

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

_RACERS = 8
_MOST_SKEW_S = 60.0
_IGNORED = (
    "this server ignores conditions: two runs could overwrite each other's shards",
    "use another server or a folder, or promise output.single_writer: true",
)

CheckKind = Literal["machine", "output", "cluster"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    kind: CheckKind
    """What it is part of."""
    name: str
    """What was looked at, in words."""
    state: Literal["ok", "warning", "fails"]
    """`fails` = a run would fail."""
    found: str
    """What was found."""
    remedy: str = ""
    """What to do; empty if all is well."""


def probe_local(store: LocalStore, *, single_writer: bool) -> Iterator[Check]:
    """What the file system of a folder does. The folder is left as it was found."""
    is_new = not store.root.exists()
    path = f"{PROBES}/{new_run_id()}"
    try:
        won = _race(lambda data: store.create(path, data))
        skew_s = (store.root / path).stat().st_mtime - time.time()
        yield _verdict("exclusive create", won, single_writer=single_writer)
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
    """What an S3 server does."""
    calls = store.calls
    path = f"{PROBES}/{new_run_id()}"
    try:
        started = time.monotonic()
        answer = calls.send("", lambda: calls.client.head_bucket(Bucket=calls.bucket))
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
    won = _race(lambda data: _wins(lambda: store.put_new(path, BytesIO(data))))
    yield _verdict("exclusive create", won, single_writer=single_writer)
    parts = f"{path}-parts"
    won = _race(lambda data: _wins(lambda: store.upload_new(parts, BytesIO(data))))
    late = _wins(lambda: store.upload_new(parts, BytesIO(b"late")))
    if late or won == 0:
        yield _verdict("exclusive parts", _RACERS, single_writer=single_writer)
    elif won > 1:
        yield Check(
            "output",
            "exclusive parts",
            "warning",
            f"{won} of {_RACERS} that race all win; one that comes later does not",
            "harmless while all workers have the same libraries: racing shards are equal bytes",
        )
    else:
        yield _verdict("exclusive parts", won, single_writer=single_writer)
    yield _checksums(store, f"{path}-sum")


def _checksums(store: S3Store, path: str) -> Check:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    put = store.calls.client.put_object
    words = store.calls.at(path) | {"Body": b"bytes", "ChecksumSHA256": wrong}
    if _wins(lambda: put(**words)):
        return Check(
            "output",
            "checksums",
            "warning",
            "a body that does not match its SHA-256 is accepted",
            "damage on the way is only found by `factory verify`: run it after each job",
        )
    return Check("output", "checksums", "ok", "a body that does not match its SHA-256 is refused")


def _verdict(name: str, won: int, *, single_writer: bool) -> Check:
    if won == 1:
        return Check("output", name, "ok", f"of {_RACERS} that race one wins")
    found, remedy = _IGNORED
    if single_writer:
        return Check(
            "output", name, "ok", "conditions are ignored, and output.single_writer is promised"
        )
    return Check("output", name, "fails", f"{won} of {_RACERS} that race win: {found}", remedy)


def _clock(skew_s: float, whose: str) -> Check:
    found = f"{whose} differs by {abs(skew_s):.0f} s"
    if abs(skew_s) <= _MOST_SKEW_S:
        return Check("output", "clock", "ok", found)
    remedy = "set this machine's clock (S3 refuses requests that are 15 minutes off)"
    return Check("output", "clock", "warning" if abs(skew_s) < 900 else "fails", found, remedy)


def _race(write: Callable[[bytes], bool]) -> int:
    """How many of several that write one name at once are told that they won."""
    with ThreadPoolExecutor(_RACERS) as pool:
        return sum(pool.map(write, [b"%d" % racer for racer in range(_RACERS)]))


def _wins(write: Callable[[], object]) -> bool:
    """Whether a write is accepted, in one attempt; a server that asks to come again is asked again."""
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
