"""Requests to an S3 server, with retries by type of failure and one-line errors.

Endpoint, region, profile and credentials come from the standard AWS configuration. Error messages
never repeat the text of an exception or a server, which may contain any of them.
"""

import random
import re
import time
from collections.abc import Callable
from logging import WARNING
from typing import Any, TypeVar

import boto3
from botocore import exceptions as failures
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from factory.errors import StoreError, UnreachableError, kind_in_words
from factory.log import log_event
from factory.store.s3_pages import LISTED, parse_page

THREADS = 16
"""Maximum number of concurrent requests."""

_BUCKET = re.compile(r"[a-zA-Z0-9._-]{1,255}|arn:.+")

_Value = TypeVar("_Value")

_TRIES = 8
_FIRST_TRIES = 3  # an address that never answered is more likely misspelt than restarting

# No retries inside boto3: whether 412 means "another writer" or "our own lost request" depends on
# the attempts before, which only `S3Store._commit_by` sees.
_CONFIG = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=THREADS,
    # Of a part of a file some servers send the checksum of the whole, which the part cannot have:
    # checksums of answers are verified where they are asked for, in downloads of whole files.
    response_checksum_validation="when_required",
)
_BROKEN = (failures.ConnectionError, failures.HTTPClientError, failures.IncompleteReadError)
_PASSING = {409, 429, 500, 502, 503, 504, "RequestTimeout", "BadDigest", "FlexibleChecksumError"}
_CREDENTIALS = "give valid credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret)"
_LATER = "look at server and network, then run the command again: everything committed is kept"
_REMEDY = {
    "NoSuchBucket": "make the bucket, or correct output.uri",
    **dict.fromkeys(
        ["AccessDenied", "403"], "allow this identity to list, get, put and delete objects there"
    ),
    "404": "look at AWS_ENDPOINT_URL: S3 would say what is missing",
    "RequestTimeTooSkewed": "set this machine's clock",
    **dict.fromkeys(["NoCredentialsError", "PartialCredentialsError"], _CREDENTIALS),
    **dict.fromkeys(["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"], _CREDENTIALS),
}


class S3Calls:
    """An S3 client for one bucket and prefix. Thread-safe."""

    def __init__(self, uri: str, *, first_wait_s: float, is_known: bool) -> None:
        """Set up a client with exponential backoff; no request is sent yet.

        Raises:
            StoreError: If `uri` names no bucket, or S3 is misconfigured on this machine.
        """
        self.bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self.root = f"{prefix.strip('/')}/".lstrip("/")
        self.uri = f"s3://{self.bucket}/{self.root}".rstrip("/")
        self._first_wait_s = first_wait_s
        self._is_known = is_known
        if not self.bucket:
            raise StoreError(
                where="output.uri", found=f"found {uri!r}", remedy="give s3://bucket/prefix"
            )
        if not _BUCKET.fullmatch(self.bucket):
            raise StoreError(
                where="output.uri",
                found=f"found {uri!r}",
                allowed="a bucket's name has letters, digits, dots, dashes and underscores",
                remedy="give s3://bucket/prefix",
            )
        try:
            self.client = boto3.Session().client("s3", config=_CONFIG)
            self.client.meta.events.register(LISTED, parse_page)
        except (BotoCoreError, ValueError) as error:
            # boto3 raises a plain ValueError for an endpoint, and only for that.
            is_odd = isinstance(error, ValueError)
            reason = "the endpoint is no address" if is_odd else kind_in_words(error)
            raise StoreError(
                where=self.uri,
                found=f"S3 is set up wrongly here ({reason})",
                remedy="look at AWS_ENDPOINT_URL (http://host:port), AWS_PROFILE and "
                "AWS_DEFAULT_REGION",
            ) from error

    def at(self, path: str) -> dict[str, Any]:
        """Request parameters for the object at `path`."""
        return {"Bucket": self.bucket, "Key": f"{self.root}{path}"}

    def with_retries(self, path: str, attempt: Callable[[], _Value]) -> _Value:
        """Run `attempt` until it succeeds, fails permanently, or has been tried often enough.

        Raises:
            UnreachableError: If it did not succeed.
        """
        where = f"{self.uri}/{path}".rstrip("/")
        num_tries = 0
        while True:
            num_tries += 1
            try:
                value = attempt()
            except (ClientError, BotoCoreError) as error:
                self._is_known = self._is_known or isinstance(error, ClientError)
                may_pass = isinstance(error, _BROKEN) or not _PASSING.isdisjoint(answer_of(error))
                most = _TRIES if self._is_known else _FIRST_TRIES
                if num_tries >= most or not may_pass:
                    raise _explain(where, error, num_tries if may_pass else 0) from error
                log_event("s3_retry", level=WARNING, path=where, reason=_reason(error))
            else:
                self._is_known = True
                return value
            # Jitter: workers that failed at the same moment must not retry at the same moment.
            time.sleep(self._first_wait_s * 2**num_tries * random.uniform(0.25, 0.5))  # noqa: S311


def answer_of(error: Exception) -> tuple[int, str]:
    """The HTTP status and S3's error code; 0 and the exception's name if there was no answer."""
    if not isinstance(error, ClientError):
        return 0, type(error).__name__
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def _reason(error: Exception) -> str:
    return answer_of(error)[1] if isinstance(error, ClientError) else kind_in_words(error)


def _explain(where: str, error: Exception, num_tries: int) -> UnreachableError:
    status, code = answer_of(error)
    answer = f"{status}" if code == str(status) else f"{status} {code}"  # without a word of S3's
    found = f"the server answers {answer}" if status else f"no answer ({_reason(error)})"
    if num_tries:
        found = f"{found}, {num_tries} times"
        return UnreachableError(where=where, found=found, remedy=_LATER)
    remedy = _REMEDY.get(code, "mend it and run the command again")
    return UnreachableError(where=where, found=found, remedy=remedy)
