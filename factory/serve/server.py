"""Answer on an address: the application in uvicorn, in this thread or beside it."""

import ipaddress
import socket
import threading
import time

import uvicorn

from factory.errors import JobError
from factory.serve.app import make_app
from factory.serve.guard import LOOPBACK
from factory.serve.view import DatasetView

TOKEN_VARIABLE = "FACTORY_SERVE_TOKEN"  # noqa: S105 - the name of the variable, not the token
"""The environment variable with the token; a token on a command line would be in every `ps`."""

_SHORTEST_TOKEN = 16
_START_LIMIT_S = 30


def check_address(host: str, token: str) -> None:
    """Make sure that an address other than the loopback one is guarded.

    Raises:
        JobError: If it is not.
    """
    if host not in LOOPBACK and not _is_loopback(host) and not token:
        raise JobError(
            f"serve: {host} can be reached from other machines; set {TOKEN_VARIABLE} to a secret "
            f"of at least {_SHORTEST_TOKEN} characters, or serve on 127.0.0.1"
        )
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise JobError(
            f"{TOKEN_VARIABLE}: found {len(token)} characters; at least {_SHORTEST_TOKEN} printable "
            "ASCII ones are needed, e.g. from `openssl rand -hex 16`"
        )


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 takes any free one.

    Raises:
        JobError: If the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(512)  # from now on a caller waits, even before the server is up
    except OSError as error:
        opened.close()
        raise JobError(
            f"serve: cannot listen on {host} port {port} ({error.strerror}); choose another port, "
            "0 for any free one"
        ) from error
    return opened


def serve_forever(view: DatasetView, opened: socket.socket, *, token: str) -> None:
    """Answer on `opened` until SIGINT or SIGTERM."""
    _server(view, token).run([opened])


def serve_beside(view: DatasetView, opened: socket.socket, *, token: str) -> None:
    """Answer on `opened` from a thread that ends with the process; returns when it answers."""
    server = _server(view, token)
    threading.Thread(target=server.run, args=([opened],), daemon=True).start()
    deadline = time.monotonic() + _START_LIMIT_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)


def _server(view: DatasetView, token: str) -> uvicorn.Server:
    config = uvicorn.Config(
        make_app(view, token=token),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=512,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16_384,
        http="h11",
        lifespan="off",
    )
    return uvicorn.Server(config)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
