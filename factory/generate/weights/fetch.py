"""Fetch a weights file: shipped with the package, from disk, https://, s3:// or hf://.

An interrupted download is resumed, and accepted only if its SHA-256 is the one in the job. The
content of the file is not looked at.
"""

import base64
import fcntl
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from factory.errors import MissingWeightsError, WeightsError, kind_in_words
from factory.generate import SHIPPED
from factory.generate.weights.hub import locate_on_hub
from factory.generate.weights.known import known_weights
from factory.generate.weights.shipped import find_shipped_weights
from factory.identity import digest_of_file
from factory.spec import GeneratorSpec
from factory.store.addresses import local_path, split_address
from factory.store.cache import cache_folder

OnBytes = Callable[[int, int], None]
"""Progress callback: called with (bytes received, total bytes; 0 if unknown)."""

_PIECE = 1 << 20
_TIMEOUT_S = 60
_REFUSED = (400, 401, 403, 404)
_WHERE = "dataset.generator.weights"


def ignore_bytes(num_bytes: int, total_bytes: int) -> None:
    """Progress callback that does nothing."""


def must_download(spec: GeneratorSpec) -> bool:
    """Whether the weights of `spec` are remote and not in the cache yet."""
    is_far = spec.weights.partition("://")[0].lower() in _OPENERS
    return is_far and not (cache_folder("downloads") / (spec.sha256 or "-")).is_file()


def fetch_weights(spec: GeneratorSpec, on_bytes: OnBytes) -> Path:
    """Return a local path to the weights of `spec`: a file, or the folder of a Hugging Face model.

    Raises:
        PluginError: If what downloads them is not installed.
        MissingWeightsError: If there are none on this machine.
        WeightsError: If they cannot be fetched, or the job gives no SHA-256 for a download.
    """
    spec = known_weights(spec)
    shipped = find_shipped_weights(spec.weights, _WHERE)
    if shipped is not None:
        return shipped
    try:
        scheme, _ = split_address(spec.weights)
        path = local_path(spec.weights)
    except ValueError as error:
        raise WeightsError(f"{_WHERE}: {error}") from error
    if path is not None:
        _check_ordinary(path, spec.sha256)
        return path
    if scheme not in _OPENERS:
        raise WeightsError(
            f"{_WHERE}: found {scheme}://; allowed: a path, shipped:NAME, file://, https://, s3:// or "
            "hf://"
        )
    return _download(spec, _OPENERS[scheme], on_bytes)


def _check_ordinary(path: Path, sha256: str | None) -> None:
    """Make sure that reading `path` comes to an end: it is a file with something in it, or a folder.

    Raises:
        WeightsError: If it is not.
    """
    remedy = (
        "give the path of a weights file, or one of "
        f"{', '.join('shipped:' + name for name in SHIPPED)}"
    )
    try:
        facts = path.stat()
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        places = "" if path.is_absolute() else f" in the job's folder, or else in {Path.cwd()}"
        found = f"no file {str(path)!r}{places}" if is_missing else f"{path}: {reason}"
        if is_missing and sha256:  # as in a job that a dataset holds
            remedy = (
                f"put the file with sha256 {sha256[:12]}... there, or name it: --set {_WHERE}=PATH "
                "(`plan`, `run` and `grow` take that, and this machine knows the file from then on)"
            )
        kind = MissingWeightsError if is_missing else WeightsError
        raise kind(f"{_WHERE}: {found}; {remedy}") from error
    if stat.S_ISDIR(facts.st_mode):
        return
    if not stat.S_ISREG(facts.st_mode):
        raise WeightsError(f"{_WHERE}: {path} is a device or a pipe, no ordinary file; {remedy}")
    if not facts.st_size:  # the files of /proc say so too, and some of them never end
        raise WeightsError(f"{_WHERE}: {path} is empty; get it again, or {remedy}")


Opener = Callable[[str, int], Any]
"""Opens an address at a byte offset: a context manager for (stream, first byte, total bytes)."""


def _download(spec: GeneratorSpec, opener: Opener, on_bytes: OnBytes) -> Path:
    if spec.sha256 is None:
        raise WeightsError(
            f"dataset.generator.sha256: missing; {spec.weights} is a download, and only its digest "
            "tells that it is the file you mean"
        )
    folder = cache_folder("downloads")
    target = folder / spec.sha256
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{spec.sha256}.lock"):
            if not target.is_file():  # nobody else has fetched it meanwhile
                _fetch(spec, opener, target, on_bytes)
    except (OSError, HTTPException, ValueError, BotoCoreError, ClientError) as error:
        raise WeightsError(
            f"{_WHERE}: cannot download {spec.weights} ({_reason(error)}); what has come is kept: "
            f"{_remedy(error, spec.weights)}"
        ) from error
    return target


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Context manager in which one process of this machine is at a time; the system ends it with it.

    All workers of a machine start at once, and want the same file. Two that append to one file leave
    holes in it.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(spec: GeneratorSpec, opener: Opener, target: Path, on_bytes: OnBytes) -> None:
    part = target.with_name(f"{target.name}.part")
    _receive(spec.weights, opener, part, on_bytes)
    found = digest_of_file(part)
    if found != spec.sha256:
        part.unlink()
        raise WeightsError(
            f"dataset.generator.sha256: {spec.weights} has {found}, the job demands "
            f"{spec.sha256}; correct the address, or the digest if you trust this file"
        )
    part.replace(target)


def _receive(address: str, opener: Opener, part: Path, on_bytes: OnBytes) -> None:
    """Append the missing bytes to `part`; start over if the server does not support ranges."""
    have = part.stat().st_size if part.exists() else 0
    with (
        opener(address, have) as (stream, first, total),
        part.open("r+b" if have else "wb") as file,
    ):
        file.truncate(first)
        file.seek(first)
        here = first
        while data := stream.read(_PIECE):
            file.write(data)
            here += len(data)
            on_bytes(here, total)
    if here < total:
        raise OSError(f"the connection ended after {here} of {total} bytes")


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses only."""

    def redirect_request(self, *words: Any) -> Any:  # noqa: ANN401 - urllib's
        """Reject a redirect to an unencrypted address."""
        if not str(words[-1]).startswith("https://"):
            words[1].close()
            raise OSError("the server redirects to an address that is not https")
        return super().redirect_request(*words)


@contextmanager
def _open_https(address: str, first: int, login: str = "") -> Iterator[tuple[IO[bytes], int, int]]:
    address, own = _without_login(address)
    login = own or login
    headers = {"User-Agent": "maskfactory", "Accept-Encoding": "identity"}
    if first:
        headers["Range"] = f"bytes={first}-"
    director = urllib.request.build_opener(
        _OnlyHttps, urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - https alone gets here
    if login:  # not to be sent on to where the server redirects
        request.add_unredirected_header("Authorization", login)
    try:
        answer = director.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:
            raise
        # The range starts at or behind the end: all bytes are here, or the file has changed since.
        # The digest will tell; a whole download serves both cases.
        request.remove_header("Range")
        with director.open(request, timeout=_TIMEOUT_S) as whole:
            yield whole, 0, int(whole.headers.get("Content-Length", 0))
        return
    with answer:
        start = first if answer.status == 206 else 0
        yield answer, start, start + int(answer.headers.get("Content-Length", 0))


@contextmanager
def _open_s3(address: str, first: int) -> Iterator[tuple[Any, int, int]]:
    """Open an S3 object; credentials, region and endpoint come from the standard AWS configuration."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    total = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    first = first if first < total else 0
    answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-")
    yield answer["Body"], first, total


def _open_hub(address: str, first: int) -> AbstractContextManager[tuple[IO[bytes], int, int]]:
    """Open a file of the Hugging Face Hub."""
    url, login = locate_on_hub(address)
    return _open_https(url, first, login)


_OPENERS: dict[str, Opener] = {"https": _open_https, "s3": _open_s3, "hf": _open_hub}


def _without_login(address: str) -> tuple[str, str]:
    """The address without user and password, and the header that sends them; "" if it has none.

    Raises:
        ValueError: If it is no address.
    """
    parts = urlsplit(address)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return address, ""
    basic = base64.b64encode(unquote(login).encode()).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {basic}"


def _remedy(error: BaseException, address: str) -> str:
    if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
        return "if its certificate is of an authority of your own, name that file in SSL_CERT_FILE"
    is_refused = isinstance(error, urllib.error.HTTPError) and error.code in _REFUSED
    if is_refused and address.lower().startswith("hf://"):
        return "check the address; for a closed repository `hf auth login`, or set HF_TOKEN"
    if is_refused and "?" not in address and "@" not in address:
        return (
            "if the address needs a query or a password, give it whole (a dataset keeps its job "
            "without them), or the path of a file with this sha256"
        )
    return "check address and network and run the command again"


def _reason(error: BaseException) -> str:
    if isinstance(error, (HTTPException, ValueError)) and not isinstance(error, OSError):
        return "not an answer or no address"  # its text may hold a secret
    if isinstance(error, urllib.error.HTTPError):
        reason = str(error.reason).partition("\n")[0]  # of redirects without end it is a paragraph
        return f"the server answers {error.code} {reason}"
    if isinstance(error, urllib.error.URLError):
        return _reason(error.reason) if isinstance(error.reason, OSError) else str(error.reason)
    return getattr(error, "strerror", "") or str(error) or kind_in_words(error)
