"""One signed POST, retried."""

import hashlib
import hmac
import json

import pytest
from web_listener import listening

from factory.errors import JobError
from factory.run.notify import (
    SECRET_VARIABLE,
    encode_event,
    post_event,
    resolve_address,
    resolve_variable,
)

SECRET = "hooks-secret"


def post(address, body=b"{}", pauses=(1.0, 4.0, 16.0)):
    """Post an event; returns why it was not taken, and the pauses that were made."""
    waited = []
    return post_event(address, body, pauses_s=pauses, pause=waited.append), waited


def test_an_event_is_posted_once_as_json():
    with listening() as web:
        assert post(f"{web.url}/hook?x=1", b'{"event": "complete"}') == ("", [])
    (request,) = web.requests
    assert (request.method, request.path, request.body) == (
        "POST",
        "/hook?x=1",
        b'{"event": "complete"}',
    )
    assert request.headers["content-type"] == "application/json"
    assert "x-factory-signature" not in request.headers


def test_it_is_signed_with_the_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with listening() as web:
        post(web.url, b"body")
    expected = hmac.new(SECRET.encode(), b"body", hashlib.sha256).hexdigest()
    assert web.requests[0].headers["x-factory-signature"] == f"sha256={expected}"


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_what_may_pass_is_asked_for_again_after_longer_and_longer_pauses(code):
    with listening(code, code) as web:
        assert post(web.url) == ("", [1.0, 4.0])
    assert len(web.requests) == 3


@pytest.mark.parametrize("code", [400, 401, 404, 410])
def test_a_refusal_is_not_asked_for_again(code):
    with listening(code) as web:
        assert post(web.url) == (f"HTTP {code}", [])
    assert len(web.requests) == 1


def test_after_the_last_pause_it_is_given_up():
    with listening(500, 500, 500, 500, 500) as web:
        assert post(web.url) == ("HTTP 500", [1.0, 4.0, 16.0])
    assert len(web.requests) == 4


def test_it_follows_no_redirect():
    with listening(302) as web:
        assert post(web.url) == ("HTTP 302", [])
    assert [request.path for request in web.requests] == ["/"]


def test_a_reason_never_holds_the_address():
    for address in (
        "http://127.0.0.1:1/secret",
        "http://no-such-host.invalid/secret",
        "http://[x/secret",
    ):
        reason, _ = post(address, pauses=())
        assert reason
        assert "secret" not in reason


def test_an_event_has_a_line_for_people_and_no_secrets():
    facts = {
        "name": "cells",
        "output": "s3://bucket/x?token=abc",
        "message": "see https://u:pw@h/x",
    }
    document = json.loads(encode_event("target_missed", facts))
    assert document["text"] == "maskfactory cells: target missed: see https://h/x"
    assert "abc" not in str(document)
    assert "pw" not in str(document)


def test_an_address_can_be_in_the_environment(monkeypatch):
    monkeypatch.setenv("HOOK", "https://127.0.0.1/hook")
    assert resolve_address("env:HOOK", "run.notify") == "https://127.0.0.1/hook"
    assert resolve_address("http://x/y", "run.notify") == "http://x/y"
    assert resolve_address(None, "run.notify") == ""


def test_a_variable_that_is_missing_or_no_address_is_refused_without_its_value(monkeypatch):
    with pytest.raises(
        JobError, match=r"run\.notify: HOOK is no environment variable; set HOOK where"
    ):
        resolve_address("env:HOOK", "run.notify")
    monkeypatch.setenv("HOOK", "hunter2")
    with pytest.raises(JobError, match="HOOK holds no address with http") as raised:
        resolve_address("env:HOOK", "run.notify")
    assert "hunter2" not in str(raised.value)
    monkeypatch.setenv("HOOK", "https://anna:hunter2@h/x")
    with pytest.raises(JobError, match="HOOK holds an address with a user or password") as raised:
        resolve_address("env:HOOK", "run.notify")
    assert "hunter2" not in str(raised.value)


def test_a_tracking_server_may_be_a_place_or_have_a_user(monkeypatch):
    for uri in ("sqlite:///runs.db", "https://anna:hunter2@h"):
        monkeypatch.setenv("TRACKING", uri)
        assert resolve_variable("env:TRACKING", "run.mlflow") == uri
    monkeypatch.delenv("TRACKING")
    with pytest.raises(JobError, match=r"run\.mlflow: TRACKING is no environment variable"):
        resolve_variable("env:TRACKING", "run.mlflow")
