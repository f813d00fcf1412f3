"""A store in an S3 bucket, on any server that supports conditional writes.

A file is created with `If-None-Match: *`: of several writers the server answers 412 to all but one.
A worker that is killed during a multipart upload leaves invisible parts; `factory gc` aborts such
uploads, as should a lifecycle rule of the bucket.
"""

import base64
import hashlib
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from factory.errors import StoreError
from factory.identity import digest_of_file
from factory.provenance import new_run_id, run_is_dead
from factory.store.base import BinaryFile, StoredFile
from factory.store.failures import WholeFile, explained
from factory.store.s3_calls import S3Calls, answer_of
from factory.store.s3_listing import list_files, list_names, list_prefixes, list_uploads

PROBES = "_probe"
"""Folder of the files that test a server's behaviour; they are removed at once."""

_Write = Callable[[str, BufferedIOBase], None]

# (endpoint, bucket, kind of write) for which conditional writes were tested in this process. One
# test for each, under a lock: a store is opened by many threads at once.
_honours_conditions: set[tuple[str, str, str]] = set()
_probing = threading.Lock()


class S3Store:
    """A dataset below `s3://bucket/prefix`; the methods are documented in `base.Store`."""

    def __init__(
        self,
        uri: str,
        *,
        part_bytes: int = 2**26,
        first_wait_s: float = 0.5,
        single_writer: bool = False,
        is_known: bool = False,
    ) -> None:
        """Prepare the client; no request is sent yet.

        Larger files are uploaded in parts of `part_bytes`. With `single_writer` a server without
        conditional writes is accepted. A server that `is_known` to exist is retried for longer.

        Raises:
            StoreError: If `uri` names no bucket, or S3 is misconfigured on this machine.
        """
        self.calls = S3Calls(uri, first_wait_s=first_wait_s, is_known=is_known)
        self.uri = self.calls.uri
        self._client = self.calls.client
        self._part_bytes = part_bytes
        self._single_writer = single_writer

    def create(self, path: str, data: bytes) -> bool:
        """Create a file atomically; False (and no change) if it exists."""
        return self._commit(path, BytesIO(data))

    def publish(self, path: str, file: Path) -> bool:
        """Upload a finished local file and delete it here; False (and no change) if `path` exists."""
        with explained(file):
            try:
                with file.open("rb") as source:
                    return self._commit(path, source)
            finally:
                file.unlink(missing_ok=True)

    def replace(self, path: str, data: bytes | BinaryFile) -> None:
        """Write or overwrite a file atomically with `data`, or with all of an open file, up to 5 GB."""
        self._check_conditional_writes(self.put_new)
        source = BytesIO(data) if isinstance(data, bytes) else data
        self.calls.with_retries(path, lambda: self._put(path, source))

    def read(self, path: str) -> bytes | None:
        """Read a file; None if it does not exist."""
        sink = WholeFile(f"{self.uri}/{path}")
        return sink.getvalue() if self.download(path, sink) else None

    def read_part(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """Read a part of a file, less where the file ends; None if it does not exist."""
        sink = BytesIO()
        words = {"Range": f"bytes={offset}-{offset + size_bytes - 1}"}
        return sink.getvalue() if self.download(path, sink, words) else None

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path | None]:
        """A temporary local copy of the file; None if it does not exist."""
        # Below a run id of its own: if this process is killed here, a later run sees that the run
        # is dead and removes the copy.
        target = self.work_folder(new_run_id()) / "copy"
        try:
            with explained(target), target.open("wb") as sink:
                is_there = self.download(path, sink)
            yield target if is_there else None
        finally:
            shutil.rmtree(target.parent, ignore_errors=True)

    def download(self, path: str, sink: BufferedIOBase, words: Mapping[str, str] = {}) -> bool:
        """Write a file, or the part that `words` ask for, to `sink`; False if it does not exist."""
        request = self.calls.at(path) | dict(words or {"ChecksumMode": "ENABLED"})

        def attempt() -> bool:
            sink.truncate(sink.seek(0))
            try:
                body = self._client.get_object(**request)["Body"]
            except ClientError as error:
                if answer_of(error) == (404, "NoSuchKey"):
                    return False
                if answer_of(error)[0] == 416:  # what is asked for begins behind the file's end
                    return True
                raise
            shutil.copyfileobj(body, sink)
            return True

        return self.calls.with_retries(path, attempt)

    def size_of(self, path: str) -> int | None:
        """A file's size in bytes; None if it does not exist."""

        def attempt() -> int | None:
            try:
                return int(self._client.head_object(**self.calls.at(path))["ContentLength"])
            except ClientError as error:
                if answer_of(error)[0] == 404:
                    return None
                raise

        return self.calls.with_retries(path, attempt)

    def remove(self, path: str) -> None:
        """Delete a file; idempotent."""
        self.calls.with_retries(path, lambda: self._client.delete_object(**self.calls.at(path)))

    def names(self, folder: str, splits: Sequence[str] = ()) -> list[str]:
        """Paths of all files below `folder`, sorted; ranges between `splits` are listed concurrently."""
        return list_names(self.calls, f"{folder}/".lstrip("/"), splits)

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below `folder` with size and time, sorted by path."""
        return list_files(self.calls, f"{folder}/".lstrip("/"))

    def find_foreign_entry(self, known: Collection[str]) -> str | None:
        """The name of an entry at the root that is not in `known`; None if there is none."""
        names = (name.rstrip("/") for name in list_prefixes(self.calls))
        ours = ("", PROBES, *known)  # another run may be probing at this moment
        return next((name for name in names if name not in ours), None)

    def work_folder(self, run_id: str) -> Path:
        """A local folder below the system's folder for temporary files."""
        folder = Path(tempfile.gettempdir(), "maskfactory", run_id)
        with explained(folder):
            with suppress(FileExistsError):
                folder.parent.mkdir()
                folder.parent.chmod(0o1777)  # like its parent: all users of a machine share it
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def clean_up(self, run_id: str) -> None:
        """Remove local unfinished files of `run_id` and of dead runs of this host."""
        for folder in Path(tempfile.gettempdir(), "maskfactory").glob("*"):
            if folder.name == run_id or run_is_dead(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def leftovers(self) -> list[StoredFile]:
        """Incomplete multipart uploads below the root, and test files that were not removed."""
        return [*list_uploads(self.calls), *list_files(self.calls, f"{PROBES}/")]

    def discard(self, leftover: StoredFile) -> None:
        """Remove one of `leftovers`; idempotent."""
        if not leftover.upload_id:
            self.remove(leftover.path)
            return
        request = self.calls.at(leftover.path) | {"UploadId": leftover.upload_id}

        def attempt() -> None:
            try:
                self._client.abort_multipart_upload(**request)
            except ClientError as error:
                if answer_of(error)[0] != 404:
                    raise

        self.calls.with_retries(leftover.path, attempt)

    def _commit(self, path: str, source: BufferedIOBase) -> bool:
        size_bytes = source.seek(0, os.SEEK_END)
        write = self.upload_new if size_bytes > self._part_bytes else self.put_new
        if self._single_writer and self.size_of(path) is not None:
            return False
        self._check_conditional_writes(write)
        return self._commit_by(write, path, source)

    def _commit_by(self, write: _Write, path: str, source: BufferedIOBase) -> bool:
        """Conditional write with retries; False if the name exists.

        An attempt whose connection breaks may have been committed by the server. The retry then
        gets 412, and the write counts as ours if the object has our bytes. If another writer has
        created the very same bytes, both report success, which is harmless: the content is what
        either wanted.
        """
        is_unsure = False

        def attempt() -> bool:
            nonlocal is_unsure
            try:
                write(path, source)
            except (ClientError, BotoCoreError) as error:
                if answer_of(error)[0] == 412:
                    return is_unsure and self._holds(path, source)
                is_unsure = is_unsure or answer_of(error)[0] != 409
                raise
            return True

        return self.calls.with_retries(path, attempt)

    def _holds(self, path: str, source: BufferedIOBase) -> bool:
        source.seek(0)
        ours = hashlib.file_digest(source, "sha256").hexdigest()
        with self.fetch(path) as stored:
            return stored is not None and digest_of_file(stored) == ours

    def put_new(self, path: str, source: BufferedIOBase) -> None:
        """Create an object in a single request, in one attempt."""
        self._put(path, source, IfNoneMatch="*")

    def _put(self, path: str, source: BinaryFile, **conditions: str) -> None:
        source.seek(0)
        body = _with_checksum(source, hashlib.file_digest(source, "sha256").digest())
        source.seek(0)
        self._client.put_object(**self.calls.at(path), **body, **conditions)

    def upload_new(self, path: str, source: BufferedIOBase) -> None:
        """Create an object by multipart upload, in one attempt; the last request makes it visible."""
        # S3 allows 10,000 parts.
        part_bytes = max(self._part_bytes, math.ceil(source.seek(0, os.SEEK_END) / 10_000))
        source.seek(0)
        client, send, target = self._client, self.calls.with_retries, self.calls.at(path)
        begin = partial(client.create_multipart_upload, **target, ChecksumAlgorithm="SHA256")
        upload = target | {"UploadId": send(path, begin)["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            while data := source.read(part_bytes):
                part = upload | {"PartNumber": len(parts) + 1} | _body(data)
                part |= {"ETag": send(path, partial(client.upload_part, **part))["ETag"]}
                parts.append({k: part[k] for k in ("PartNumber", "ETag", "ChecksumSHA256")})
            finish = client.complete_multipart_upload
            finish(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            with suppress(ClientError, BotoCoreError):  # best effort: `gc` finds what remains
                client.abort_multipart_upload(**upload)
            raise

    def _check_conditional_writes(self, write: _Write) -> None:
        """Reject a server that ignores conditional writes.

        Only an attempt can tell: such servers answer 200 and overwrite. Single requests and multipart
        uploads are tested separately, because servers differ in either.
        """
        place = (self._client.meta.endpoint_url, self.calls.bucket, write.__name__)
        with _probing:
            if self._single_writer or place in _honours_conditions:
                return
            path = f"{PROBES}/{new_run_id()}"
            try:
                won = [self._commit_by(write, path, BytesIO(data)) for data in (b"1", b"2")]
            finally:
                with suppress(ClientError, BotoCoreError):  # credentials may not allow deletion
                    self._client.delete_object(**self.calls.at(path))
            if won != [True, False]:
                raise StoreError(
                    where=self.uri,
                    found="this server ignores conditional writes, so two workers could overwrite "
                    "each other's shards",
                    remedy="use another server, or a folder, or, if only one run at a time writes "
                    "there, set output.single_writer: true",
                )
            _honours_conditions.add(place)


def _body(data: bytes) -> dict[str, Any]:
    return _with_checksum(data, hashlib.sha256(data).digest())


def _with_checksum(body: bytes | BinaryFile, digest: bytes) -> dict[str, Any]:
    return {"Body": body, "ChecksumSHA256": base64.b64encode(digest).decode()}
