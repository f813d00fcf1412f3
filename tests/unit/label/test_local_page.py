import http.client
import re
import threading

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from factory.errors import JobError
from factory.label.local_page import answer_page, make_page_app, serve_page
from factory.web.server import bind, make_server


async def secret(_):
    return PlainTextResponse("secret")


async def page(_):
    return answer_page(lambda nonce: f"<script nonce={nonce}>".encode())


def app_of(folder, token="t"):
    (folder / "a.js").write_text("let a;")
    routes = [Route("/", page), Route("/secret", secret), Route("/put", secret, methods=["PUT"])]
    return make_page_app(routes, [folder / "a.js"], token=token, most_body_bytes=4)


@pytest.fixture
def ask(tmp_path):
    with bind("127.0.0.1", 0) as listener:
        server = make_server(app_of(tmp_path))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def ask(path, method="GET", body=None, token="t"):
            connection = http.client.HTTPConnection(*listener.getsockname(), timeout=60)
            known = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path, body, known)
            answer = connection.getresponse()
            data = answer.read().decode()
            connection.close()
            return answer.status, data, answer.headers

        yield ask
        server.should_exit = True
        thread.join()


def test_routes_need_the_token_and_assets_do_not(ask):
    assert ask("/secret", token="")[0] == ask("/secret", token="other")[0] == 401
    assert ask("/secret")[:2] == (200, "secret")
    assert ask("/assets/a.js", token="")[:2] == (200, "let a;")
    assert ask("/put", "PUT", "1234")[:2] == (200, "secret")
    assert ask("/put", "PUT", "12345")[0] == 413
    assert ask("/put", "DELETE")[0] == 405


def test_every_answer_with_a_page_has_a_nonce_of_its_own(ask):
    answers = [ask("/?token=t", token="") for _ in range(2)]
    nonces = [re.search("nonce=(.*)>", data)[1] for _, data, _ in answers]
    assert nonces[0] != nonces[1]
    for nonce, (_, _, headers) in zip(nonces, answers, strict=True):
        assert f"'nonce-{nonce}'" in headers["Content-Security-Policy"]


def test_a_port_that_is_taken_is_told_before_the_address(tmp_path):
    told = []
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(JobError, match=r"cannot listen on 127\.0\.0\.1"):
            serve_page(lambda token: app_of(tmp_path, token), port=port, on_address=told.append)
    assert told == []
