"""What a download asks the Hugging Face Hub for, answered by an https server on this machine."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from weights_server import CONTENT

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_a-token-that-nobody-may-see"
FILE = "nets/a%20cat.pkl"


class Hub(ThreadingHTTPServer):
    """A hub of two repositories with one file, one of them closed; it redirects to its storage."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.content = CONTENT
        self.break_after: int | None = None
        self.status: int | None = None
        self.storage = f"https://localhost:{self.server_port}/storage"
        self.asked: list[str] = []
        self.from_storage: list[tuple[str | None, str | None]] = []

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here."""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, login = self.server, self.headers.get("Authorization")
        if self.path == "/storage":
            hub.from_storage.append((self.headers.get("Range"), login))
            self.send_file()
            return
        hub.asked.append(self.path)
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        is_closed = repository == "me/closed" and login != f"Bearer {TOKEN}"
        is_there = repository in ("me/cats", "me/closed") and name == FILE
        if hub.status is not None or is_closed:
            self.send_error(hub.status or 401)
        elif not is_there or revision not in ("main", COMMIT, "refs%2Fpr%2F1"):
            self.send_error(404)
        else:
            self.send_response(302)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Location", hub.storage)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send_file(self) -> None:
        wanted = self.headers.get("Range")
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(self.server.content) - first))
        self.end_headers()
        self.wfile.write(self.server.content[first : self.server.break_after])

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@contextmanager
def a_hub(certificate: Path) -> Iterator[Hub]:
    """The hub, answering."""
    with Hub(certificate) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()
