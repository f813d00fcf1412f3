import http.client

import pytest
from starlette.responses import PlainTextResponse

from factory.errors import JobError
from factory.web.server import bind, serve_beside

HELLO = PlainTextResponse("hello")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_beside_answers_as_soon_as_it_is_there(host):
    try:
        opened = bind(host, 0)
    except JobError:
        pytest.skip("this machine has no such address")
    serve_beside(HELLO, opened)
    connection = http.client.HTTPConnection(host, opened.getsockname()[1], timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    connection.close()


def test_a_caller_waits_from_the_moment_the_socket_is_bound():
    with bind("127.0.0.1", 0) as opened:
        connection = http.client.HTTPConnection("127.0.0.1", opened.getsockname()[1], timeout=30)
        connection.request("GET", "/")  # nobody answers yet, and it is not refused
        serve_beside(HELLO, opened)
        assert connection.getresponse().read() == b"hello"
        connection.close()


def test_a_port_that_is_taken_is_told_by_the_name_of_its_setting():
    with bind("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(JobError) as caught:
            bind("127.0.0.1", port, setting="run.serve_port")
    assert str(caught.value) == (
        f"run.serve_port: cannot listen on 127.0.0.1 port {port} (Address already in use); choose "
        "another port, or 0 for any free one"
    )
