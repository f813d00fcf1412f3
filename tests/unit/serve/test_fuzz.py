"""Requests that nobody would send on purpose: the service never answers with a server error."""

import http.client

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.openapi.checks import JsonSchemaError
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from small_job import make_small

from factory.serve.app import make_app
from factory.serve.openapi import ENDPOINTS, make_openapi
from factory.serve.view import DatasetView
from factory.store import open_store
from factory.web.server import bind, serve_beside

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
PATHS = [endpoint.path for endpoint in ENDPOINTS if endpoint.name != "events"]  # it never ends
GOOD, BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
SCHEMA = schemathesis.openapi.from_dict(make_openapi("0"))
often = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def takes_something(endpoint):
    return endpoint.query is not None or "{key}" in endpoint.path


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    make_small(folder)
    return DatasetView(open_store(str(folder / "out")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, GOOD) for path in PATHS] + [(e.path, BAD) for e in ENDPOINTS if takes_something(e)],
)
def test_what_schemathesis_makes_up_is_answered_as_the_document_says(view, path, mode):
    app = make_app(view, token="")
    SCHEMA.app = app
    operation = SCHEMA[path]["GET"]

    @often
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.headers = {"host": "127.0.0.1"}
        response = case.call(app=app)
        assert response.status_code in (200, 400, 404, 405, 414, 429), response.content
        case.validate_response(response, checks=list(CHECKS))

    try:
        ask()
    except JsonSchemaError as error:
        raise AssertionError(str(error)) from error


@pytest.fixture(scope="module")
def port(view):
    opened = bind("127.0.0.1", 0)
    serve_beside(make_app(view, token=""), opened)
    return opened.getsockname()[1]


requests = st.binary(max_size=200) | st.text(max_size=60).map(
    lambda text: f"GET /{text} HTTP/1.1\r\n\r\n".encode()
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests)
def test_bytes_that_are_no_request_are_survived(port, data):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    connection.sock.sendall(data + b"\r\n\r\n")
    connection.sock.settimeout(0.2)
    try:
        answer = connection.sock.recv(64)
    except TimeoutError:
        answer = b""
    connection.close()
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    check = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    check.request("GET", "/healthz")
    assert check.getresponse().status in (200, 429)
    check.close()
