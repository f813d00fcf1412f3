"""Real servers for S3 experiments, to be killed and started again, and a proxy that misbehaves."""

import http.client
import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

KEY, SECRET = "a-key", "a-secret-of-the-bucket"
RIGHTS = ["Admin", "Read", "Write", "List", "Tagging"]


def free_port() -> int:
    """A port that is free, and so is the one 10 000 above, which the server uses too."""
    while True:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = int(low.getsockname()[1])
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port


def find_program(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def s3_env(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def s3_client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
    )


@dataclass
class Weed:
    """SeaweedFS on this machine, whose data outlives its process."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def start(self, wait_s: float = 300) -> None:
        if not self.ports:
            self.ports = {n: free_port() for n in ("s3", "master", "volume", "filer", "admin")}
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        credentials = [{"accessKey": KEY, "secretKey": SECRET}]
        identity = {"name": "tester", "credentials": credentials, "actions": RIGHTS}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        command = [str(find_program("weed")), "mini", f"-dir={self.folder / 'data'}"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{name}.port={port}" for name, port in self.ports.items()]
        command += ["-webdav=false", "-admin.ui=false", f"-s3.config={self.folder / 's3.json'}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + wait_s
        while not self.is_up():
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.1)

    def is_up(self) -> bool:
        client = s3_client(self.endpoint)
        try:
            with suppress(ClientError):  # it is there since the last look
                client.create_bucket(Bucket="bucket")
            client.put_object(Bucket="bucket", Key="ready", Body=b"")
            client.delete_object(Bucket="bucket", Key="ready")
        except (ClientError, BotoCoreError):
            return False
        return True

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Proxy:
    """Stands before an S3 server, and does something bad to one request in `one_in`."""

    KINDS = ("409", "412", "500", "503", "slow", "cut", "refuse")
    SKIPPED = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})

    def __init__(self, endpoint: str, *, one_in: int, seed: int) -> None:
        self.host = endpoint.removeprefix("http://")
        self.one_in = one_in
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), ProxyHandler)
        self.server.proxy = self  # type: ignore[attr-defined]
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Proxy":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def choose(self, method: str, *, conditional: bool) -> str:
        """What to do to a request: 409 and 412 are answers to conditional writes only."""
        with self.lock:
            if self.rng.randrange(self.one_in):
                return ""
            kind = self.rng.choice(self.KINDS if conditional else self.KINDS[2:])
            self.done[kind] += 1
            return kind


class ProxyHandler(BaseHTTPRequestHandler):
    """Forwards a request, or does what the proxy chooses instead."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.proxy.choose(self.command, conditional="If-None-Match" in self.headers)
        if kind.isdigit():
            self.answer(int(kind), {}, b"<Error><Code>Injected</Code></Error>")
            return
        time.sleep(kind == "slow")
        try:
            reply = None if kind == "refuse" else self.forward(body)
        except OSError:
            reply = None
        if reply is None or kind == "cut":  # after a cut the server has done it, unheard
            self.close_connection = True
            return
        self.answer(*reply)

    @property
    def proxy(self) -> Proxy:
        return self.server.proxy  # type: ignore[attr-defined, no-any-return]

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        server = http.client.HTTPConnection(self.proxy.host, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k != "Expect"}
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        data = answer.read()
        server.close()
        kept = {k: v for k, v in answer.getheaders() if k.lower() != "transfer-encoding"}
        return answer.status, kept, data

    def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in self.proxy.SKIPPED:
                self.send_header(name, value)
        # An answer to HEAD has the length of what GET would bring, and no body.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815
