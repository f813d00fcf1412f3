"""The page's server: this machine only, one token, and one file that it may write.

Whoever has the token may read the samples and write the labels file, nothing else. Requests under
another host name are refused, so that a page from elsewhere cannot reach it by rebinding a name.
"""

import asyncio
import hmac
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from factory.errors import JobError
from factory.label.labels_file import LabelsFile, SaveRequest
from factory.label.material import LabelMaterial
from factory.label.page import ASSETS, live_page, make_facts, script_names

TOKEN_HEADER = "x-factory-token"  # noqa: S105 - its name, not a token

_MOST_BYTES = 2**20
_CUT = re.compile(r"[0-9]{1,5}(,[0-9]{1,5}){0,254}")
_ALWAYS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class ServerState:
    """Everything the server answers with."""

    material: LabelMaterial
    """What is labelled."""
    file: LabelsFile
    """Where the names go."""
    hosts: tuple[str, ...]
    """Values of the Host header that are answered."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Secret of this run, in the page's address."""


def serve(
    material: LabelMaterial, labels: Path, *, port: int, on_address: Callable[[str], None]
) -> None:
    """Serve the page on this machine until it is interrupted.

    `port` 0 takes a free one. `on_address` is called with the page's address once it is reachable.

    Raises:
        JobError: If the port is taken, or the labels file cannot be read.
    """
    LabelsFile(labels, material.tree).load()
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise JobError(
            f"--port: cannot listen on {port} ({error.strerror}); give another, or 0 for a free one"
        ) from error
    with listener:
        server, address = make_server(material, labels, listener)
        on_address(address)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def make_server(
    material: LabelMaterial, labels: Path, listener: socket.socket
) -> tuple[uvicorn.Server, str]:
    """A server for one open socket, and the page's address there."""
    port = listener.getsockname()[1]
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    desk = ServerState(material, LabelsFile(labels, material.tree), hosts)
    config = uvicorn.Config(
        make_app(desk), log_level="warning", lifespan="off", timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config), f"http://{hosts[0]}/?token={desk.token}"


def make_app(desk: ServerState) -> Starlette:
    """The page, its facts, masks of any cut, and the labels file."""
    answers = _Answers(desk)
    routes = [
        Route("/", answers.page),
        Route("/facts", answers.facts),
        Route("/masks", answers.masks),
        Route("/labels", answers.labels),
        Route("/labels", answers.save, methods=["PUT"]),
        *(Route(f"/assets/{path.name}", _asset(path)) for path in _public_files()),
    ]
    guard = Middleware(BaseHTTPMiddleware, dispatch=_guard(desk))
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: _say})


class _Answers:
    """What each address says."""

    def __init__(self, desk: ServerState) -> None:
        self._material, self._file = desk.material, desk.file

    async def page(self, _: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        rule = (
            f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; "
            "img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(live_page(nonce), headers={"Content-Security-Policy": rule})

    async def facts(self, _: Request) -> Response:
        return JSONResponse({**make_facts(self._material), "labels_file": str(self._file.path)})

    async def masks(self, request: Request) -> Response:
        cut = _read_cut(request.query_params.get("cut", ""))
        try:
            self._material.tree.check_cut(cut)
        except JobError as error:
            raise HTTPException(400, str(error)) from error
        found = await asyncio.to_thread(self._material.gallery.masks, cut)
        return Response(found.tobytes(), media_type="application/octet-stream")

    async def labels(self, _: Request) -> Response:
        return JSONResponse(self._file.load())

    async def save(self, request: Request) -> Response:
        try:
            wanted = SaveRequest.model_validate_json(await _read_body(request))
            seen = self._file.save(wanted)
        except ValidationError as error:
            raise HTTPException(422, _first_problem(error)) from error
        except JobError as error:
            raise HTTPException(422, str(error)) from error
        if seen is None:
            raise HTTPException(409, f"{self._file.path}: changed since this page read it")
        return JSONResponse({"seen": seen})


def _guard(
    desk: ServerState,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        path = request.url.path
        sent = (
            request.query_params.get("token") if path == "/" else request.headers.get(TOKEN_HEADER)
        )
        if request.headers.get("host") not in desk.hosts:
            response: Response = PlainTextResponse("unknown host name\n", 421)
        elif path.startswith("/assets/") or _is_token(sent, desk.token):
            response = await answer(request)
        else:
            response = PlainTextResponse("open the address that `factory label` printed\n", 403)
        response.headers.update(_ALWAYS)
        return response

    return guard


def _is_token(sent: str | None, token: str) -> bool:
    return hmac.compare_digest((sent or "").encode(), token.encode())


def _public_files() -> list[Path]:
    return [ASSETS / "page.css", *(ASSETS / f"{name}.js" for name in script_names())]


def _asset(path: Path) -> Callable[[Request], Awaitable[Response]]:
    kind = "text/css" if path.suffix == ".css" else "text/javascript"

    async def asset(_: Request) -> Response:
        return Response(path.read_bytes(), media_type=kind)

    return asset


def _read_cut(text: str) -> list[int]:
    if not _CUT.fullmatch(text):
        raise HTTPException(400, "cut: give at most 255 node numbers with commas between them")
    return [int(part) for part in text.split(",")]


async def _read_body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, f"a labels file has at most {_MOST_BYTES} bytes")
    return body


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"])) or "body"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


async def _say(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # it is registered for this one
    return PlainTextResponse(error.detail, error.status_code)
