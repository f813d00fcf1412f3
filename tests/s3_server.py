"""An S3 server in this process, a proxy before it that commits faults, and what tests ask of both."""

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import boto3
import pytest
from moto.server import ThreadedMotoServer

from factory.errors import StoreError

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "an-id",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
PART = 5 * 2**20
SECRET = "a-secret-that-nobody-may-see"


@dataclass
class Fault:
    """What to do to the next `times` requests of a method whose address matches `address`."""

    method: str
    address: str
    kind: str
    """An HTTP status to answer instead, `cut` after the server has answered, or `refuse` before."""
    times: int = 1
    seen: int = 0


@dataclass
class Middle:
    """A proxy before the server that commits faults and counts requests."""

    port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def fault(self, method: str, address: str) -> str:
        self.requests.append((method, address))
        for fault in self.faults:
            matches = fault.method == method and re.search(fault.address, address)
            if matches and fault.seen < fault.times:
                fault.seen += 1
                return fault.kind
        return ""

    def count(self, method: str, pattern: str) -> int:
        return sum(m == method and bool(re.search(pattern, a)) for m, a in self.requests)


def handler_for(middle):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = middle.fault(self.command, self.path)
            if kind.isdigit():
                self.reply(int(kind), {}, b"<Error><Code>Injected</Code></Error>")
                return
            if kind != "refuse":
                server = http.client.HTTPConnection("127.0.0.1", middle.port)
                headers = {k: v for k, v in self.headers.items() if k != "Expect"}
                server.request(self.command, self.path, body, headers)
                answer = server.getresponse()
                data = answer.read()
                server.close()
            if kind in ("cut", "refuse"):
                self.close_connection = True
                return
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in SKIPPED}
            self.reply(answer.status, kept, data)

        def reply(self, status, headers, data):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815

    return Handler


SKIPPED = {"content-length", "transfer-encoding", "connection", "date", "server"}


def a_file(store, data, name="x.tar"):
    file = store.work_folder("run") / name
    file.write_bytes(data)
    return file


def refusal(action):
    with pytest.raises(StoreError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    assert "an-id" not in text
    return text


def uploads():
    return boto3.client("s3").list_multipart_uploads(Bucket="bucket").get("Uploads", [])


@contextmanager
def moto_server() -> Iterator[str]:
    """An S3 server in this process; gives its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def use_server(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Have `s3://` addresses mean the server at `endpoint`, for one test."""
    for name, value in {"AWS_ENDPOINT_URL": endpoint, **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
