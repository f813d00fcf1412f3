"""Weights from elsewhere: real servers, broken connections, wrong files."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from weights_server import CONTENT, DIGEST, SECRET, Server, make_certificate, serving

from factory.errors import WeightsError
from factory.generate.weights.fetch import fetch_weights, ignore_bytes, must_download
from factory.spec import GeneratorSpec
from factory.store.cache import cache_folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with serving(certificate) as running:
        yield running


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
    assert [path.suffix for path in cache_folder("downloads").iterdir()] == [".lock"]


def test_a_download_without_a_digest_is_refused_before_it_begins(server: Server) -> None:
    text = refusal(spec_of(server, sha256=None))
    assert text.startswith("dataset.generator.sha256: missing; https://127.0.0.1:")
    assert server.asked == []


def test_a_missing_page_says_what_the_server_answers(server: Server) -> None:
    assert "the server answers 404 Not Found" in refusal(spec_of(server, "nothing"))


def test_a_redirect_away_from_https_is_refused(server: Server) -> None:
    assert "redirects to an address that is not https" in refusal(spec_of(server, "away"))


def test_a_signed_address_is_fetched_whole_and_told_without_its_signature(server: Server) -> None:
    spec = spec_of(server, f"signed?key={SECRET}&b=1")
    assert fetch_weights(spec, ignore_bytes).read_bytes() == CONTENT
    wrong = spec_of(server, f"signed?key={SECRET}&b=2", "0" * 64)
    text = refusal(wrong)
    assert "/signed (the server answers 403 Forbidden)" in text
    assert SECRET not in text


def test_a_signed_address_without_its_signature_says_what_is_missing(server: Server) -> None:
    text = refusal(spec_of(server, "signed"))
    assert "the server answers 403" in text
    assert text.endswith(
        "if the address needs a query or a password, give it whole (a dataset keeps its job without "
        "them), or the path of a file with this sha256"
    )


def test_user_and_password_of_an_address_are_sent_and_not_told(server: Server) -> None:
    address = f"https://me:p%40ss@127.0.0.1:{server.server_port}/login"
    spec = GeneratorSpec(kind="stylegan2", weights=address, sha256=DIGEST)
    assert fetch_weights(spec, ignore_bytes).read_bytes() == CONTENT
    assert server.logins == ["Basic bWU6cEBzcw=="]  # me:p@ss
    text = refusal(spec.model_copy(update={"sha256": "0" * 64}))
    assert f"https://127.0.0.1:{server.server_port}/login has" in text
    assert "p%40ss" not in text


def test_a_password_is_not_sent_on_to_where_a_server_redirects(server: Server) -> None:
    address = f"https://me:{SECRET}@127.0.0.1:{server.server_port}/elsewhere"
    spec = GeneratorSpec(kind="stylegan2", weights=address, sha256=DIGEST)
    assert fetch_weights(spec, ignore_bytes).read_bytes() == CONTENT
    assert server.logins == [None]


@pytest.mark.parametrize(
    "address",
    [
        f"https://me:{SECRET}/x@127.0.0.1:1/y",
        f"https://127.0.0.1:{SECRET}/x",
        f"https://127.0.0.1:1/x y?key={SECRET}",
        f"https://[::1/x?key={SECRET}",
        f"https://a..b/x?key={SECRET}",
        f"https://me:{SECRET}@127.0.0.1:1/x?y=z",
        f"https:/me:{SECRET}@host/x?key={SECRET}",
        f"http://me:{SECRET}@host/x?key={SECRET}",
        f"s3://id:{SECRET}@bucket/x",
        f"s3://bucket/x?secret={SECRET}",
        f"file://host/x?y={SECRET}",
    ],
)
def test_no_address_is_too_odd_to_be_refused_in_one_line_without_its_secret(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = refusal(GeneratorSpec(kind="stylegan2", weights=address, sha256=DIGEST))
    assert text.startswith("dataset.generator.weights: ")
    assert "\n" not in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/dev/zero", "/dev/zero is a device or a pipe, no ordinary file"),
        ("file:///dev/zero", "/dev/zero is a device or a pipe, no ordinary file"),
        ("pipe", "is a device or a pipe, no ordinary file"),
        ("/proc/self/mem", "/proc/self/mem is empty"),
        ("/proc/self/nothing", "no file '/proc/self/nothing'"),
        ("empty", "empty is empty; get it again"),
        ("loop", "loop: too many levels of symbolic links"),
        ("~nobody-of-this-name/x", "nothing says where that home is"),
    ],
)
def test_weights_are_an_ordinary_file(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("empty").touch()
    Path("loop").symlink_to("loop")
    assert words in refusal(GeneratorSpec(kind="stylegan2", weights=name))


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
        "https://, s3:// or hf://"
    )


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"w")
    spec = GeneratorSpec(kind="stylegan2", weights=f"file://{tmp_path}/w")
    assert fetch_weights(spec, ignore_bytes) == tmp_path / "w"


@pytest.mark.slow
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


def test_workers_of_one_machine_download_once_and_one_after_the_other(server: Server) -> None:
    """Two that wrote into one file at different offsets would leave a hole, and refuse what came."""
    spec = spec_of(server)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch_weights(spec, ignore_bytes), range(4)))
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert server.asked == [None]


def test_a_certificate_that_nobody_knows_tells_how_to_make_it_known(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    text = refusal(spec_of(server))
    assert "certificate verify failed" in text
    assert text.endswith("name that file in SSL_CERT_FILE")
    assert server.asked == []
