"""An https server of one weights file, on this machine, that notes what it is asked."""

import hashlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CONTENT = bytes(range(256)) * 12_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SECRET = "a-secret-that-nobody-may-see"


class Server(ThreadingHTTPServer):
    """An https server of one file, which notes what it is asked and can break off."""

    def __init__(self, certificate: Path, content: bytes = CONTENT) -> None:
        self.content = content
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.asked: list[str | None] = []
        self.logins: list[str | None] = []
        self.break_after: int | None = None
        self.knows_ranges = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/plain")
            self.end_headers()
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", f"https://localhost:{self.server.server_port}/login")
            self.end_headers()
            return
        if self.path == "/login":
            self.server.logins.append(self.headers.get("Authorization"))
        elif self.path not in ("/weights", f"/signed?key={SECRET}&b=1"):
            self.send_error(403 if self.path.startswith("/signed") else 404)
            return
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if first >= len(self.server.content) and self.server.knows_ranges:
            self.send_error(416)
            return
        first = first if self.server.knows_ranges else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(self.server.content) - first))
        self.end_headers()
        last = self.server.break_after
        self.wfile.write(self.server.content[first:last])
        self.server.break_after = None

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def make_certificate(folder: Path) -> Path:
    """A certificate with its key in one file; the test is left out where openssl is missing."""
    path = folder / "both.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout {path}.key -out {path}.crt"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    path.write_text(Path(f"{path}.key").read_text() + Path(f"{path}.crt").read_text())
    return path


@contextmanager
def serving(certificate: Path, content: bytes = CONTENT) -> Iterator[Server]:
    """The server, answering."""
    with Server(certificate, content) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()
