"""Weights on the hub, found by its own client and fetched from a real server with its answers."""

import sys

import pytest
from hub_server import COMMIT, FILE, TOKEN, a_hub
from weights_server import CONTENT, DIGEST, make_certificate

from factory.errors import PluginError, WeightsError
from factory.generate.weights.fetch import fetch_weights, ignore_bytes, must_download
from factory.generate.weights.hub import locate_on_hub
from factory.spec import GeneratorSpec
from factory.store.cache import cache_folder

pytest.importorskip("huggingface_hub")
ADDRESS = f"hf://me/cats/{FILE}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def hub(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with a_hub(certificate) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


def spec_of(address=ADDRESS, sha256=DIGEST):
    return GeneratorSpec(kind="stylegan2", weights=address, sha256=sha256)


def refusal(spec):
    with pytest.raises(WeightsError) as caught:
        fetch_weights(spec, ignore_bytes)
    text = str(caught.value)
    assert "\n" not in text
    assert TOKEN not in text
    return text


def test_a_file_of_the_hub_is_fetched_once_and_told_byte_for_byte(hub):
    seen = []
    assert must_download(spec_of())
    path = fetch_weights(spec_of(), lambda here, total: seen.append((here, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not must_download(spec_of())
    assert fetch_weights(spec_of(), ignore_bytes) == path
    assert hub.asked == ["/me/cats/resolve/main/nets/a%20cat.pkl"], "then it is in the cache"


@pytest.mark.parametrize("revision", [COMMIT, "refs%2Fpr%2F1"])
def test_a_commit_or_a_branch_is_asked_for_as_it_is_written(hub, revision):
    fetch_weights(spec_of(f"hf://me/cats@{revision}/{FILE}"), ignore_bytes)
    assert hub.asked == [f"/me/cats/resolve/{revision}/nets/a%20cat.pkl"]


def test_a_broken_download_goes_on_where_it_ended(hub):
    hub.break_after = 2_000_000
    assert "what has come is kept" in refusal(spec_of())
    hub.break_after = None
    assert fetch_weights(spec_of(), ignore_bytes).read_bytes() == CONTENT
    assert [wanted for wanted, _ in hub.from_storage] == [None, "bytes=2000000-"]


def test_a_closed_repository_needs_a_token_which_is_told_nowhere(hub, monkeypatch):
    spec = spec_of(f"hf://me/closed/{FILE}")
    text = refusal(spec)
    assert "the server answers 401" in text
    assert text.endswith("for a closed repository `hf auth login`, or set HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_weights(spec, ignore_bytes).read_bytes() == CONTENT
    assert hub.from_storage == [(None, None)], "the storage is elsewhere: it gets no token"
    refusal(spec_of("hf://me/closed/nets/dog.pkl", "0" * 64))


@pytest.mark.parametrize(
    "address",
    [f"hf://me/dogs/{FILE}", f"hf://me/cats@old/{FILE}", "hf://me/cats/nets/dog.pkl"],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_have_is_said(address):
    text = refusal(spec_of(address))
    assert text.startswith(f"dataset.generator.weights: cannot download {address} (the server")
    assert "answers 404 Not Found" in text


@pytest.mark.parametrize(
    "address",
    [
        *("hf://me", "hf://me/cats", "hf://me/cats/", "hf://me/cats@/x.pkl", "hf://me/cats/a//b"),
        *("hf://me/cats/../../x", "hf://me/cats/./x", "hf:///cats/x", "hf://me/-cats-/x"),
        *("hf://me/../x", "hf://me/cats/%2e%2e/x", "hf://me/cats/a%2F..%2Fx"),
    ],
)
def test_what_is_no_address_of_the_hub_is_refused_before_anything_is_asked(hub, address):
    text = refusal(spec_of(address))
    assert "a file on the hub is hf://owner/name/file" in text
    assert hub.asked == []


def test_a_download_without_a_digest_is_refused_before_it_begins(hub):
    assert refusal(spec_of(sha256=None)).startswith("dataset.generator.sha256: missing; hf://me/")
    assert hub.asked == []


def test_other_bytes_than_the_job_demands_are_refused_and_not_kept(hub):
    hub.content = CONTENT[:-1] + b"?"
    assert f"the job demands {DIGEST}" in refusal(spec_of())
    assert [path.suffix for path in cache_folder("downloads").iterdir()] == [".lock"]


@pytest.mark.parametrize("storage", ["http://127.0.0.1:9/x", "file:///etc/passwd", "//"])
def test_a_hub_that_sends_elsewhere_than_to_https_is_not_followed(hub, storage):
    hub.storage = storage
    refusal(spec_of())
    assert hub.from_storage == []


@pytest.mark.parametrize("status", [418, 500, 503])
def test_any_other_answer_is_one_line_with_its_number(hub, status):
    hub.status = status
    assert f"the server answers {status}" in refusal(spec_of())


def test_a_hub_without_https_gets_no_login(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.address.replace("https", "http"))
    assert refusal(spec_of()).startswith("HF_ENDPOINT: found 'http://127.0.0.1:")


def test_without_a_mirror_it_is_the_hub_itself(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    url, _ = locate_on_hub("hf://me/cats@main/x.pkl")
    assert url == "https://huggingface.co/me/cats/resolve/main/x.pkl"


def test_without_the_client_it_is_said_what_to_install(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PluginError) as caught:
        fetch_weights(spec_of(), ignore_bytes)
    assert str(caught.value).endswith("pip install 'maskfactory[hub]'")
