"""A store in a bucket of any S3 server that honours conditional writes.

A name is created by a request that says `If-None-Match: *`: the server answers 412 to all but one.
Endpoint, region, profile and credentials come from where every AWS tool looks for them; no text made
here repeats what an exception or a server says, which may hold any of them. A worker killed during a
large upload leaves invisible parts: a lifecycle rule of the bucket should abort such uploads.
"""

import base64
import hashlib
import math
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedIOBase, BytesIO
from logging import WARNING
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore import exceptions as failures
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from factory.errors import StoreError, UnreachableError
from factory.identity import digest_of_file
from factory.log import log_event
from factory.provenance import new_run_id, run_is_dead
from factory.store.local import explain_os_error

_Value = TypeVar("_Value")
_Write = Callable[[str, BufferedIOBase], None]

_TRIES = 8
_PROBES = "_probe"

# One attempt per call: what 412 means depends on the attempts before, and only `_commit_by` looks.
_CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
_BROKEN = (failures.ConnectionError, failures.HTTPClientError, failures.IncompleteReadError)
_PASSING = {409, 429, 500, 502, 503, 504, "RequestTimeout", "BadDigest", "FlexibleChecksumError"}
_CREDENTIALS = "give valid credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret)"
_LATER = "look at server and network, then run the command again: everything committed is kept"
_REMEDY = {
    "NoSuchBucket": "make the bucket, or correct output.uri",
    "AccessDenied": "allow this identity to list, get, put and delete objects there",
    **dict.fromkeys(["NoCredentialsError", "PartialCredentialsError"], _CREDENTIALS),
    **dict.fromkeys(["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"], _CREDENTIALS),
}

_honest: set[tuple[str, str, str]] = set()  # endpoint, bucket and way seen to honour conditions
_probing = threading.Lock()


class S3Store:
    """A dataset below `s3://bucket/prefix`; see `base.Store` for the promise of each method."""

    def __init__(self, uri: str, *, part_bytes: int = 2**26, first_wait_s: float = 0.5) -> None:
        """Use the place `uri` names; nothing is sent yet.

        Larger files are sent in parts of `part_bytes`. Each pause is twice the one before.

        Raises:
            StoreError: If `uri` names no bucket, or S3 is set up wrongly on this machine.
        """
        self._bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._root = f"{prefix.strip('/')}/".lstrip("/")
        self.uri = f"s3://{self._bucket}/{self._root}".rstrip("/")
        self._part_bytes = part_bytes
        self._first_wait_s = first_wait_s
        if not self._bucket:
            raise StoreError(f"output.uri: found {uri!r}; give s3://bucket/prefix")
        try:
            self._client = boto3.Session().client("s3", config=_CONFIG)
        except (BotoCoreError, ValueError) as error:
            raise StoreError(
                f"{self.uri}: S3 is set up wrongly here ({type(error).__name__}); look at "
                "AWS_ENDPOINT_URL (http://host:port), AWS_PROFILE and AWS_DEFAULT_REGION"
            ) from error

    def create(self, path: str, data: bytes) -> bool:
        """Write a new file; False (and no change) if the name exists."""
        return self._commit(path, BytesIO(data))

    def publish(self, path: str, file: Path) -> bool:
        """Send a finished local file and remove it here; False (and no change) if `path` exists."""
        with _explained(file):
            try:
                with file.open("rb") as source:
                    return self._commit(path, source)
            finally:
                file.unlink(missing_ok=True)

    def replace(self, path: str, data: bytes) -> None:
        """Write a file whatever was there; readers see the old bytes or the new."""
        self._make_sure_of(self._put_new)
        self._try(path, lambda: self._client.put_object(**self._at(path), **_body(data)))

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is absent."""
        sink = BytesIO()
        return sink.getvalue() if self._load(path, sink) else None

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path | None]:
        """A temporary copy of the file; None if it is absent."""
        target = self.work_folder(new_run_id()) / "copy"  # found dead later, should we die here
        try:
            with _explained(target), target.open("wb") as sink:
                is_there = self._load(path, sink)
            yield target if is_there else None
        finally:
            shutil.rmtree(target.parent, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        """Paths of all files below `folder`, sorted; empty if there is none."""
        keys = self._keys(f"{folder}/".lstrip("/"))
        return sorted(key for key in keys if not key.endswith("/"))  # consoles write such "folders"

    def find_stranger(self, known: Collection[str]) -> str | None:
        """The name of something at the root that is not in `known`; None if there is nothing."""
        names = (key.rstrip("/") for key in self._keys("", Delimiter="/"))
        ours = ("", _PROBES, *known)  # another run may be probing at this moment
        return next((name for name in names if name not in ours), None)

    def work_folder(self, run_id: str) -> Path:
        """A folder on this machine, below the system's folder for temporary files."""
        folder = Path(tempfile.gettempdir(), "maskfactory", run_id)
        with _explained(folder):
            with suppress(FileExistsError):
                folder.parent.mkdir()
                folder.parent.chmod(0o1777)  # like its parent: all users of a machine share it
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def clean_up(self, run_id: str) -> None:
        """Remove what `run_id` and this host's dead runs left on this machine."""
        for folder in Path(tempfile.gettempdir(), "maskfactory").glob("*"):
            if folder.name == run_id or run_is_dead(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, path: str, source: BufferedIOBase) -> bool:
        size_bytes = source.seek(0, os.SEEK_END)
        write = self._upload_new if size_bytes > self._part_bytes else self._put_new
        self._make_sure_of(write)
        return self._commit_by(write, path, source)

    def _commit_by(self, write: _Write, path: str, source: BufferedIOBase) -> bool:
        """Do a conditional write; False if the name exists.

        When an attempt breaks, the server may have committed it before. The next one then sees 412,
        and the name is ours if it holds our bytes. Should somebody else have written the very same
        bytes, both are told that they won: no byte differs from what either wanted.
        """
        is_unsure = False

        def attempt() -> bool:
            nonlocal is_unsure
            try:
                write(path, source)
            except (ClientError, BotoCoreError) as error:
                if _answer(error)[0] == 412:
                    return is_unsure and self._holds(path, source)
                is_unsure = is_unsure or _answer(error)[0] != 409
                raise
            return True

        return self._try(path, attempt)

    def _holds(self, path: str, source: BufferedIOBase) -> bool:
        source.seek(0)
        ours = hashlib.file_digest(source, "sha256").hexdigest()
        with self.fetch(path) as stored:
            return stored is not None and digest_of_file(stored) == ours

    def _put_new(self, path: str, source: BufferedIOBase) -> None:
        source.seek(0)
        self._client.put_object(**self._at(path), **_body(source.read()), IfNoneMatch="*")

    def _upload_new(self, path: str, source: BufferedIOBase) -> None:
        """Send a file in parts; it appears, whole, with the last request or not at all."""
        part_bytes = max(
            self._part_bytes, math.ceil(source.seek(0, os.SEEK_END) / 10_000)
        )  # S3's limit
        source.seek(0)
        begin, send = self._client.create_multipart_upload, self._client.upload_part
        begun = self._try(path, lambda: begin(**self._at(path), ChecksumAlgorithm="SHA256"))
        upload = self._at(path) | {"UploadId": begun["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            while data := source.read(part_bytes):
                part = upload | {"PartNumber": len(parts) + 1} | _body(data)
                part |= {"ETag": self._try(path, partial(send, **part))["ETag"]}
                parts.append({k: part[k] for k in ("PartNumber", "ETag", "ChecksumSHA256")})
            finish = self._client.complete_multipart_upload
            finish(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            with suppress(ClientError, BotoCoreError):  # nothing to abort, or nobody to ask
                self._client.abort_multipart_upload(**upload)
            raise

    def _load(self, path: str, sink: BufferedIOBase) -> bool:
        """Write a file's bytes to `sink`; False if it is absent."""

        def attempt() -> bool:
            sink.truncate(sink.seek(0))
            try:
                body = self._client.get_object(**self._at(path))["Body"]
            except ClientError as error:
                if _answer(error) == (404, "NoSuchKey"):
                    return False
                raise
            shutil.copyfileobj(body, sink)
            return True

        return self._try(path, attempt)

    def _keys(self, below: str, **options: str) -> Iterator[str]:
        """Paths, and common prefixes if `options` ask for them, page by page."""
        query = {"Bucket": self._bucket, "Prefix": f"{self._root}{below}", **options}
        while True:
            page = self._try(below, lambda: self._client.list_objects_v2(**query))
            entries = [*page.get("CommonPrefixes", ()), *page.get("Contents", ())]
            found = [entry.get("Prefix") or entry["Key"] for entry in entries]
            yield from (key.removeprefix(self._root) for key in sorted(found))
            if not page.get("IsTruncated"):
                return
            query["ContinuationToken"] = page["NextContinuationToken"]

    def _make_sure_of(self, write: _Write) -> None:
        """Refuse a server that lets a second writer replace a file; only an attempt can tell."""
        place = (self._client.meta.endpoint_url, self._bucket, write.__name__)
        with _probing:
            if place in _honest:
                return
            path = f"{_PROBES}/{new_run_id()}"
            try:
                won = [self._commit_by(write, path, BytesIO(data)) for data in (b"1", b"2")]
            finally:
                with suppress(ClientError, BotoCoreError):  # some may write and never delete
                    self._client.delete_object(**self._at(path))
            if won != [True, False]:
                raise StoreError(
                    f"{self.uri}: this server ignores conditional writes, so two workers could "
                    "overwrite each other's shards; use another server, or a folder"
                )
            _honest.add(place)

    def _try(self, path: str, attempt: Callable[[], _Value]) -> _Value:
        """Do `attempt` until it succeeds, fails for good, or has failed often enough."""
        where = f"{self.uri}/{path}".rstrip("/")
        for num_tries in range(1, _TRIES + 1):
            try:
                return attempt()
            except (ClientError, BotoCoreError) as error:
                may_pass = isinstance(error, _BROKEN) or not _PASSING.isdisjoint(_answer(error))
                if num_tries == _TRIES or not may_pass:
                    raise _explain(where, error, may_pass=may_pass) from error
                log_event("s3_tried_again", level=WARNING, path=where, reason=_answer(error)[1])
            # Workers that failed together must not come back together.
            time.sleep(self._first_wait_s * 2**num_tries * random.uniform(0.25, 0.5))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    def _at(self, path: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": f"{self._root}{path}"}


def _explain(where: str, error: Exception, *, may_pass: bool) -> UnreachableError:
    status, code = _answer(error)
    found = f"the server answers {status} {code}" if status else f"no answer ({code})"
    if may_pass:
        return UnreachableError(f"{where}: {found}, {_TRIES} times; {_LATER}")
    remedy = _REMEDY.get(code, "mend it and run the command again")
    return UnreachableError(f"{where}: {found}; {remedy}")


def _answer(error: Exception) -> tuple[int, str]:
    """The HTTP status and S3's word for it; 0 and the exception's name if no answer came."""
    if not isinstance(error, ClientError):
        return 0, type(error).__name__
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def _body(data: bytes) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {"Body": data, "ChecksumSHA256": digest}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain_os_error(path, error) from error
