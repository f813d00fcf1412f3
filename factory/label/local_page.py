"""Serve a page on this machine only, protected by a token: what our pages for people share."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from factory.label.painting.superpixels import SIZES, number_superpixels
from factory.label.scripts import asset_route, content_rule
from factory.web.answers import on_http_error
from factory.web.guard import Access, Guard
from factory.web.server import bind, serve_until_stopped

BYTES = "application/octet-stream"
"""The kind of an answer that scripts read byte by byte."""

_HOST = "127.0.0.1"


def make_page_app(
    routes: Sequence[Route], assets: Sequence[Path], *, token: str, most_body_bytes: int
) -> Starlette:
    """Build an application behind the guard: `routes` need the token, and `assets` do not.

    Args:
        routes: The page, what it asks for, and what it writes.
        assets: Scripts and styles.
        token: Whoever has it may use all routes.
        most_body_bytes: Largest body of a request.
    """
    access = Access(
        token,
        public=("/assets/",),
        methods=("GET", "HEAD", "PUT"),
        most_body_bytes=most_body_bytes,
    )
    return Starlette(
        routes=[*routes, *(asset_route(path) for path in assets)],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={HTTPException: on_http_error},
    )


def answer_page(render: Callable[[str], bytes]) -> Response:
    """The answer with a page, which `render` makes for inline scripts with a new nonce."""
    nonce = secrets.token_urlsafe(16)
    rule = {"Content-Security-Policy": content_rule(nonce)}
    return HTMLResponse(render(nonce), headers=rule)


async def answer_superpixels(
    request: Request, image: Callable[[], UInt8[np.ndarray, "h w 3"]]
) -> Response:
    """The answer with the number of each pixel's superpixel in `image`, two bytes each, lower first.

    Raises:
        HTTPException: If the request asks for no known size of superpixels.
    """
    size = request.query_params.get("size", "")
    if size not in SIZES:
        raise HTTPException(400, f"size: give {' or '.join(SIZES)}")
    found = await asyncio.to_thread(number_superpixels, image(), size)
    return Response(found, media_type=BYTES)


async def read_mask(request: Request, side: int, *, name: str) -> UInt8[np.ndarray, "h w"]:
    """The mask that a page sends, a byte for each pixel of `side` rows; `name` is its name in errors.

    Raises:
        HTTPException: If it has another size.
    """
    body = await request.body()
    if len(body) != side * side:
        raise HTTPException(
            422, f"{name}: found {len(body)} bytes; a mask here has {side} x {side}"
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(side, side)


def serve_page(
    make_app: Callable[[str], Starlette], *, port: int, on_address: Callable[[str], None]
) -> None:
    """Serve the application that `make_app` builds for a new token, until it is interrupted.

    `port` 0 takes a free one. `on_address` is called with the page's address once it is reachable.

    Raises:
        JobError: If the port is taken.
    """
    listener = bind(_HOST, port)
    token = secrets.token_urlsafe(24)
    on_address(f"http://{_HOST}:{listener.getsockname()[1]}/?token={token}")
    serve_until_stopped(make_app(token), listener)
