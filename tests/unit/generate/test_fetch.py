"""Weights from elsewhere: real servers, broken connections, wrong files."""

import hashlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from factory.errors import WeightsError
from factory.generate.weights.fetch import fetch_weights, ignore_bytes, must_download
from factory.spec import GeneratorSpec
from factory.store.cache import cache_folder

CONTENT = bytes(range(256)) * 12_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """An https server of one file, which notes what it is asked and can break off."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.asked: list[str | None] = []
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
        if self.path != "/weights":
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if first >= len(CONTENT) and self.server.knows_ranges:
            self.send_error(416)
            return
        first = first if self.server.knows_ranges else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        last = self.server.break_after
        self.wfile.write(CONTENT[first:last])
        self.server.break_after = None

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {path}.key -out {path}.crt"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    path.write_text(Path(f"{path}.key").read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def server(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Server(certificate) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def spec_of(server: Server, path: str = "weights", sha256: str | None = DIGEST) -> GeneratorSpec:
    address = f"https://127.0.0.1:{server.server_port}/{path}"
    return GeneratorSpec(kind="stylegan2", weights=address, sha256=sha256)


def refusal(spec: GeneratorSpec) -> str:
    with pytest.raises(WeightsError) as caught:
        fetch_weights(spec, ignore_bytes)
    return str(caught.value)


def test_a_download_is_told_byte_for_byte_and_made_once(server: Server) -> None:
    seen: list[tuple[int, int]] = []
    assert must_download(spec_of(server))
    path = fetch_weights(spec_of(server), lambda here, total: seen.append((here, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [here for here, _ in seen] == sorted(here for here, _ in seen)
    assert not must_download(spec_of(server))
    assert fetch_weights(spec_of(server), ignore_bytes) == path
    assert server.asked == [None], "the second time comes from the cache"


def test_a_broken_download_goes_on_where_it_ended(server: Server) -> None:
    server.break_after = 1_000_000
    text = refusal(spec_of(server))
    assert "cannot download https://127.0.0.1:" in text
    assert "what has come is kept" in text
    part = cache_folder("downloads") / f"{DIGEST}.part"
    have = part.stat().st_size
    assert 0 < have <= 1_000_000
    assert fetch_weights(spec_of(server), ignore_bytes).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={have}-"]


def test_a_server_without_ranges_sends_it_all_again(server: Server) -> None:
    server.break_after = 1_000_000
    refusal(spec_of(server))
    server.knows_ranges = False
    assert fetch_weights(spec_of(server), ignore_bytes).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server) -> None:
    folder = cache_folder("downloads")
    folder.mkdir(parents=True)
    (folder / f"{DIGEST}.part").write_bytes(CONTENT + b"more")
    assert fetch_weights(spec_of(server), ignore_bytes).read_bytes() == CONTENT


def test_another_file_than_the_one_demanded_is_refused_and_not_kept(server: Server) -> None:
    text = refusal(spec_of(server, sha256="0" * 64))
    assert f"has {DIGEST}, the job demands {'0' * 64}" in text
    assert list(cache_folder("downloads").iterdir()) == []


def test_a_download_without_a_digest_is_refused_before_it_begins(server: Server) -> None:
    text = refusal(spec_of(server, sha256=None))
    assert text.startswith("dataset.generator.sha256: missing; https://127.0.0.1:")
    assert server.asked == []


def test_a_missing_page_says_what_the_server_answers(server: Server) -> None:
    assert "the server answers 404 Not Found" in refusal(spec_of(server, "nothing"))


def test_a_redirect_away_from_https_is_refused(server: Server) -> None:
    assert "redirects to an address that is not https" in refusal(spec_of(server, "away"))


def test_an_untrusted_certificate_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(spec_of(server))


@pytest.mark.parametrize("scheme", ["http", "ftp", "gs"])
def test_other_schemes_are_refused(scheme: str) -> None:
    spec = GeneratorSpec(kind="stylegan2", weights=f"{scheme}://host/file", sha256=DIGEST)
    assert refusal(spec) == (
        f"dataset.generator.weights: found {scheme}://; allowed: a path, shipped:NAME, file://, "
        "https:// or s3://"
    )


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"w")
    spec = GeneratorSpec(kind="stylegan2", weights=f"file://{tmp_path}/w")
    assert fetch_weights(spec, ignore_bytes) == tmp_path / "w"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_weights_come_from_s3_and_secrets_stay_out_of_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "XDG_CACHE_HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="a/weights", Body=CONTENT)
        spec = GeneratorSpec(kind="stylegan2", weights="s3://models/a/weights", sha256=DIGEST)
        folder = cache_folder("downloads")
        folder.mkdir(parents=True)
        (folder / f"{DIGEST}.part").write_bytes(CONTENT[:5000])
        assert fetch_weights(spec, ignore_bytes).read_bytes() == CONTENT
        missing = spec.model_copy(update={"weights": "s3://models/nothing", "sha256": "1" * 64})
        text = refusal(missing)
        assert "cannot download s3://models/nothing (" in text
        assert "404" in text
        assert "a-secret" not in text
    finally:
        server.stop()
