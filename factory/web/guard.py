"""Access control before every request: host name, token, rate and size; and the headers of every answer.

A local server is reachable from this machine only, but the Host header must name it too: otherwise
a web page from elsewhere could read it through a host name that resolves to 127.0.0.1 (DNS
rebinding). The token is sent as `Authorization: Bearer`, or by browsers as the cookie that
`/?token=` sets.
"""

import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory.errors import JobError
from factory.web.answers import refuse
from factory.web.connections import is_out_of_files, peer_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that are reachable from this machine only."""

_SHORTEST_TOKEN = 16
_COOKIE = "factory_token"
_LONGEST_TARGET = 2048
_BURST, _PER_S = 400.0, 200.0
_TRUST = 10
"""How many times as many requests are taken of an address that shows the token."""
_MOST_CLIENTS = 4096
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Access rules of a server."""

    token: str = ""
    """Secret that requests must carry; empty if none is needed."""
    is_local: bool = True
    """Whether the server is reachable from this machine only: the Host header must then name it."""
    leaves_cookie: bool = False
    """Whether `/?token=` sets the token as a cookie. Browsers send cookies to every port of a host,
    also to other programs' servers: the page of a local server should keep the token itself."""
    public: tuple[str, ...] = ()
    """Prefixes of paths that need no token."""
    health: str = ""
    """The path that tells whether the server is up: it needs no token, and is not counted. A probe
    may have the address of a crowd, and must not fail because of it."""
    methods: tuple[str, ...] = ("GET", "HEAD")
    """Allowed methods."""
    most_body_bytes: int = 0
    """The longest body that is read; 0 = none."""


def check_address(host: str, token: str, *, variable: str) -> None:
    """Require a strong token for an address that is reachable from other machines.

    `variable` is the environment variable with the token, for errors.

    Raises:
        JobError: If it is missing or weak.
    """
    if not token and not _is_loopback(host):
        raise JobError(
            where="--host",
            found=f"{host} can be reached from other machines",
            remedy=f"set {variable} to a secret of at least {_SHORTEST_TOKEN} characters, or serve on "
            "127.0.0.1",
        )
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise JobError(
            where=variable,
            found=f"found {len(token)} characters",
            allowed=f"at least {_SHORTEST_TOKEN} printable ASCII ones are needed",
            remedy="make one with `openssl rand -hex 16`",
        )


class Guard:
    """ASGI middleware: rejects requests by the access rules, and adds headers to every response."""

    def __init__(
        self, app: ASGIApp, *, access: Access, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Guard `app`."""
        self._app = app
        self._access = access
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, bool], tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject the request, or pass it to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self._app
        try:
            await answer(scope, self._bounded(receive), send_with_headers)
        except ClientDisconnect:
            return  # the client cancelled the upload and waits for no response
        except OSError as error:
            if has_started or not is_out_of_files(error):
                raise
            answer = refuse(503, "this server has too many files open; ask again later")
            await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        is_known = self._shows_token(scope, headers)
        is_health = bool(self._access.health) and scope["path"] == self._access.health
        wait_s = 0.0 if is_health else self._wait_s(scope, is_known=is_known)
        if wait_s > 0:
            after = {"retry-after": str(1 + int(wait_s))}
            return refuse(429, "too many requests; ask again later", after)
        return self._check_form(scope, headers) or self._check_caller(
            scope, headers, is_known=is_known or is_health
        )

    def _check_form(self, scope: Scope, headers: Headers) -> Response | None:
        access = self._access
        if scope["method"] not in access.methods:
            allowed = ", ".join(access.methods)
            return refuse(405, f"this server takes {allowed} only", {"allow": allowed})
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _LONGEST_TARGET:
            return refuse(414, f"the address is longer than {_LONGEST_TARGET} bytes")
        if self._is_too_long(headers):
            return refuse(413, _too_long(access.most_body_bytes))
        return None

    def _check_caller(self, scope: Scope, headers: Headers, *, is_known: bool) -> Response | None:
        access = self._access
        host = _HOST.fullmatch(headers.get("host", ""))
        if access.is_local and (host is None or host["name"].lower().strip("[]") not in LOOPBACK):
            return refuse(421, f"this server answers to {', '.join(LOOPBACK)} only")
        if headers.get("host") and host is None:
            return refuse(400, "Host: a name or an address is allowed, with a port or without")
        if access.token and not is_known and not scope["path"].startswith(access.public):
            return refuse(
                401,
                "a token is needed: `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser",
                {"www-authenticate": "Bearer"},
            )
        if access.leaves_cookie and self._has_token_in_address(scope):
            return _redirect_with_cookie(access.token)
        return None

    def _wait_s(self, scope: Scope, *, is_known: bool) -> float:
        """Seconds until this caller may send another request (token bucket).

        Those who show the token and those who do not are counted apart: both may share an address.
        """
        caller = peer_of((scope.get("client") or ("unknown", 0))[0]), is_known
        burst, per_s = (_BURST * _TRUST, _PER_S * _TRUST) if is_known else (_BURST, _PER_S)
        now = self._clock()
        tokens, then = self._buckets.pop(caller, (burst, now))
        tokens = min(burst, tokens + (now - then) * per_s)
        self._buckets[caller] = (max(tokens - 1, 0.0), now)
        while len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if tokens >= 1 else (1 - tokens) / per_s

    def _is_too_long(self, headers: Headers) -> bool:
        most = self._access.most_body_bytes
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers:  # its length shows when it is read
            return most == 0
        return not length.isdecimal() or int(length) > most

    def _bounded(self, receive: Receive) -> Receive:
        """Wrap `receive` so that a body of unknown length is read up to the limit only."""
        num_bytes = 0

        async def receive_bounded() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._access.most_body_bytes:
                raise HTTPException(413, _too_long(self._access.most_body_bytes))
            return message

        return receive_bounded

    def _shows_token(self, scope: Scope, headers: Headers) -> bool:
        if not self._access.token:
            return False
        given = headers.get("authorization", "").removeprefix("Bearer ")
        cookie = _cookie(headers) if self._access.leaves_cookie else ""
        return self._is_token(given) or self._is_token(cookie) or self._has_token_in_address(scope)

    def _has_token_in_address(self, scope: Scope) -> bool:
        if not self._access.token or scope["path"] != "/":
            return False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return self._is_token(query.get("token", [""])[0])

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._access.token.encode())


def _is_loopback(host: str) -> bool:
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _too_long(most_bytes: int) -> str:
    return f"a body has at most {most_bytes} bytes here" if most_bytes else "no body is taken here"


def _redirect_with_cookie(token: str) -> Response:
    answer = RedirectResponse("/", 303)
    answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict", path="/")
    return answer


def _cookie(headers: Headers) -> str:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[_COOKIE].value if _COOKIE in jar else ""
