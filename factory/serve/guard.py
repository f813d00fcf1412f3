"""What stands before every request: who may ask, how often, and what an answer may do in a browser.

On the loopback address no token is needed, but the Host header must name it, or a page from elsewhere
could read the service through a name that it points here (DNS rebinding). Any other address needs the
token, sent as `Authorization: Bearer` or, by browsers, as the cookie that `/?token=` leaves.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that only this machine reaches."""

_COOKIE = "factory_token"
_LONGEST_TARGET = 2048
_BURST, _PER_S = 400.0, 200.0
_MOST_CLIENTS = 4096
_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware: refuses what may not pass, and marks every answer as ours."""

    def __init__(
        self, app: ASGIApp, *, token: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Guard `app`; an empty token means that only the loopback address is served."""
        self._app = app
        self._token = token.encode()
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_marked)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        wait_s = self._wait_s(scope)
        if wait_s > 0:
            after = {"retry-after": str(1 + int(wait_s))}
            return _refuse(429, "too many requests; ask again later", after)
        if scope["method"] not in ("GET", "HEAD"):
            return _refuse(405, "this service is read-only; use GET", {"allow": "GET, HEAD"})
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _LONGEST_TARGET:
            return _refuse(414, f"the address is longer than {_LONGEST_TARGET} bytes")
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return _refuse(413, "this service takes no body")
        if not self._token:
            return self._check_host(headers)
        return self._check_token(scope, headers)

    def _wait_s(self, scope: Scope) -> float:
        """Seconds until this client may ask again: a bucket of requests that refills steadily."""
        client = (scope.get("client") or ("unknown", 0))[0]
        now = self._clock()
        tokens, then = self._buckets.pop(client, (_BURST, now))
        tokens = min(_BURST, tokens + (now - then) * _PER_S)
        self._buckets[client] = (max(tokens - 1, 0.0), now)
        while len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if tokens >= 1 else (1 - tokens) / _PER_S

    def _check_host(self, headers: Headers) -> Response | None:
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname
        except ValueError:
            host = None
        if host in LOOPBACK:
            return None
        return _refuse(421, f"this service answers to {', '.join(LOOPBACK)} only")

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(given) or self._is_token(_cookie(headers)):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and self._is_token(query.get("token", [""])[0]):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(
                _COOKIE, self._token.decode(), httponly=True, samesite="strict", path="/"
            )
            return answer
        return _refuse(
            401,
            "a token is needed: `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser",
            {"www-authenticate": "Bearer"},
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _cookie(headers: Headers) -> str:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[_COOKIE].value if _COOKIE in jar else ""


def _refuse(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": error}, status, headers)
