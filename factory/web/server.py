"""Run an ASGI application on an address: in this thread or in a background thread."""

import asyncio
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from factory.errors import JobError
from factory.web.connections import Connection, Connections

_START_LIMIT_S = 30
_QUEUE = 512


def bind(host: str, port: int, *, setting: str = "--port") -> socket.socket:
    """Open a listening socket; port 0 takes any free one. Errors call the port `setting`.

    Raises:
        JobError: If the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(_QUEUE)  # from now on a caller waits, even before the server is up
    except OSError as error:
        opened.close()
        raise JobError(
            where=setting,
            found=f"cannot listen on {host} port {port} ({error.strerror})",
            remedy="choose another port, or 0 for any free one",
        ) from error
    return opened


def serve_until_stopped(app: ASGIApp, opened: socket.socket) -> None:
    """Serve on `opened` until SIGINT or SIGTERM."""
    with opened, suppress(KeyboardInterrupt):
        make_server(app).run([opened])


def serve_beside(app: ASGIApp, opened: socket.socket) -> None:
    """Serve on `opened` in a daemon thread; returns when the server responds."""
    server = make_server(app)
    threading.Thread(target=server.run, args=([opened],), daemon=True).start()
    deadline = time.monotonic() + _START_LIMIT_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Create the HTTP server of `app`, not started."""
    connections = Connections()
    protocol: Any = partial(Connection, connections=connections)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=_QUEUE,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16_384,
        http=protocol,
        ws="none",
        loop="asyncio",  # another loop raises a different error when no file descriptor is left
        lifespan="off",
    )
    return _Server(config, connections)


class _Server(uvicorn.Server):
    """uvicorn's server; known errors of its event loop are logged in one line."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._connections.on_loop_error)
        await super().startup(sockets)
