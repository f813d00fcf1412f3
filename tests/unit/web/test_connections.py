"""Limits on connections, over real sockets."""

import asyncio
import errno
import http.client
import itertools
import json
import logging
import os
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress

import pytest
from small_label import TOKEN, serving
from starlette.responses import PlainTextResponse

from factory.web import connections
from factory.web.guard import Access, Guard
from factory.web.server import bind, serve_beside

LONG_S = 60
"""Never waited for unless something is broken."""
HALF = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: "


@pytest.fixture(scope="module", autouse=True)
def enough_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def start(app=None):
    opened = bind("127.0.0.1", 0)
    serve_beside(app or PlainTextResponse("hello"), opened)
    return opened.getsockname()[1]


@contextmanager
def opened(port, count, *, sends=HALF, source="127.0.0.1"):
    """Connections from `source` that have sent something."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", port), LONG_S, (source, 0))
            found.append(stack.enter_context(one))
            one.sendall(sends)
        yield found


def ask(port, *, source="127.0.0.1", path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, LONG_S, (source, 0))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_closed(one):
    """Whether the server closes a connection, which is waited for."""
    one.settimeout(LONG_S)
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True


def num_open(found):
    """How many of these connections the server has left open."""
    with selectors.DefaultSelector() as selector:
        for one in found:
            selector.register(one, selectors.EVENT_READ)
        return len(found) - len(selector.select(0))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize("sends", [HALF, b""])
def test_600_half_open_connections_shut_out_nobody(source, sends):
    port = start()
    with opened(port, 600, sends=sends) as found:
        assert ask(port, source=source) == (200, b"hello")
        assert 0 < num_open(found) <= connections.MOST_OF_ONE_PEER


def test_many_peers_leave_room_for_one_more(monkeypatch):
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 16)
    monkeypatch.setattr(connections, "MOST_OF_ONE_PEER", 6)
    port = start()
    with ExitStack() as stack:
        crowds = [
            stack.enter_context(opened(port, 5, source=f"127.0.0.{peer}")) for peer in (2, 3, 4)
        ]
        assert ask(port) == (200, b"hello")
        more = stack.enter_context(opened(port, 4, source="127.0.0.5"))
        assert ask(port) == (200, b"hello")
        assert num_open(more) == 4, "those who have most make room"
        assert sum(map(num_open, crowds)) <= 12


def test_a_request_that_trickles_in_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_LIMIT_S", 0.4)
    port = start()
    with opened(port, 1) as (one,):
        trickle = itertools.repeat(b"a", LONG_S * 20)
        with pytest.raises(ConnectionError):  # a limit that each byte renews would never end
            deque((one.sendall(byte) or time.sleep(0.05) for byte in trickle), maxlen=0)


@pytest.mark.slow
@pytest.mark.parametrize("sends", [b"", HALF, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"])
def test_a_silent_connection_is_closed_also_after_an_answer(monkeypatch, sends):
    monkeypatch.setattr(connections, "REQUEST_LIMIT_S", 0.4)
    port = start()
    with opened(port, 1, sends=sends) as (one,):
        if sends.endswith(b"\r\n\r\n"):
            while not one.recv(4096).endswith(b"hello"):
                pass
        assert is_closed(one)


@pytest.mark.slow
def test_an_answer_may_take_longer_than_a_request(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_LIMIT_S", 0.2)

    async def slow(scope, receive, send):
        await asyncio.sleep(1)
        await PlainTextResponse("at last")(scope, receive, send)

    assert ask(start(slow)) == (200, b"at last")


@pytest.mark.slow
def test_a_second_request_has_the_whole_time_again(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_LIMIT_S", 2.0)
    connection = http.client.HTTPConnection("127.0.0.1", start(), LONG_S)
    for _ in range(4):
        connection.request("GET", "/")
        used = connection.sock
        assert connection.getresponse().read() == b"hello"
        assert connection.sock is used, "it is the same connection"
        time.sleep(0.7)
    connection.close()


def test_a_peer_whose_answers_are_all_under_way_is_refused_and_others_are_not(monkeypatch):
    monkeypatch.setattr(connections, "MOST_OF_ONE_PEER", 8)
    held = []

    async def slow(scope, receive, send):
        if scope["path"] == "/hold":
            held.append(scope)
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await PlainTextResponse("hello")(scope, receive, send)

    port = start(slow)
    with opened(port, 8, sends=HALF.replace(b"/ ", b"/hold ") + b"\r\n\r\n"):
        deadline = time.monotonic() + LONG_S
        while len(held) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(ConnectionError):
            ask(port)
        assert ask(port, source="127.0.0.2") == (200, b"hello")


def test_an_answer_that_is_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(connections, "READING_LIMIT_S", 0.3)
    num_pieces, piece = 10_000, b"x" * 2**16
    ended = threading.Event()

    async def long(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(num_pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        ended.set()

    with opened(start(long), 1, sends=HALF + b"\r\n\r\n") as (one,):
        assert ended.wait(LONG_S), "the server waits for a caller that reads nothing"
        num_bytes = 0
        with suppress(ConnectionError):
            while data := one.recv(2**20):
                num_bytes += len(data)
        assert 0 < num_bytes < num_pieces * len(piece)


@contextmanager
def served(folder, *, num_files):
    """`factory serve` in a process of its own that may open so many files: its port, and its log."""
    log = folder.parent / "log"
    command = f"-m factory serve {folder} --port 0"
    with log.open("wb") as written:
        process = subprocess.Popen(
            ["bash", "-c", f"ulimit -n {num_files}; exec {sys.executable} {command}"],
            stdout=subprocess.PIPE,
            stderr=written,
            env={name: value for name, value in os.environ.items() if "TOKEN" not in name},
            text=True,
        )
    try:
        line = process.stdout.readline()
        yield int(line.partition("127.0.0.1:")[2].partition("/")[0]), log
    finally:
        process.terminate()
        process.communicate(timeout=LONG_S)


@pytest.mark.slow
def test_without_file_descriptors_one_line_is_logged_and_callers_are_answered(finished, tmp_path):
    with served(finished, num_files=64) as (port, log):
        with opened(port, 150):
            assert ask(port, path="/healthz") == (200, b"ok\n")
            assert ask(port, path="/v1/samples/000000000/image.png")[0] == 200
        assert ask(port, path="/page.css")[0] == 200
    lines = log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert "warning out_of_file_descriptors open_connections=" in lines[0]
    assert "raise `ulimit -n` if it happens often" in lines[0]


@pytest.mark.parametrize(
    ("callback", "num_told"), [("BaseSelectorEventLoop._start_serving", 0), ("another", 1)]
)
def test_a_server_that_is_closed_before_it_accepts_again_leaves_no_word(caplog, callback, num_told):
    """asyncio tries that a second after it was out of file descriptors."""

    def fail():
        raise ValueError("Invalid file descriptor: -1")

    async def attempt():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(connections.Connections().on_loop_error)
        fail.__qualname__ = callback
        loop.call_soon(fail)
        await asyncio.sleep(0.01)

    asyncio.run(attempt())
    assert len(caplog.records) == num_told


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_a_503():
    def no_file(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    port = start(Guard(no_file, access=Access()))
    status, data = ask(port)
    assert status == 503
    assert json.loads(data) == {"error": "this server has too many files open; ask again later"}


def test_uploads_that_are_given_up_leave_no_word_in_the_log(tmp_path):
    half = (
        f"PUT /labels HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n"
        "content-length: 9999\r\n\r\n{"
    )
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    with serving(tmp_path / "labels.yaml") as address:
        for name in ("uvicorn", "asyncio", "factory"):
            logging.getLogger(name).addHandler(handler)
        port = int(address.partition("127.0.0.1:")[2].partition("/")[0])
        for _ in range(5):
            with opened(port, 5, sends=half.encode()):
                assert ask(port)[0] == 401
    for name in ("uvicorn", "asyncio", "factory"):
        logging.getLogger(name).removeHandler(handler)
    assert told == []
