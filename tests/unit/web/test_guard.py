"""Both servers over real HTTP: what one refuses, the other does too, in the same words."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from small_job import make_small
from small_label import small_material
from starlette.responses import PlainTextResponse

from factory.errors import JobError
from factory.label.server import make_app as make_label_app
from factory.serve.app import make_app as make_service
from factory.serve.view import DatasetView
from factory.store import open_store
from factory.web.guard import Access, Guard, check_address
from factory.web.server import bind, serve_beside

TOKEN = "a-secret-of-24-letters-!"


@dataclass
class Site:
    port: int
    data: str
    """An address with something to keep from others."""

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers, encode_chunked=body is not None)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, data


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    make_small(folder)
    view = DatasetView(open_store(str(folder / "out")))
    found = {}
    for name, app, data in (
        ("open service", make_service(view, token=""), "/v1/summary"),
        ("guarded service", make_service(view, token=TOKEN), "/v1/summary"),
        (
            "label page",
            make_label_app(small_material(), folder / "labels.yaml", token=TOKEN),
            "/facts",
        ),
    ):
        opened = bind("127.0.0.1", 0)
        serve_beside(app, opened)
        found[name] = Site(opened.getsockname()[1], data)
    return found


EVERY = ("open service", "guarded service", "label page")
LOCAL = ("open service", "label page")
GUARDED = ("guarded service", "label page")


@pytest.fixture
def site(sites, request):
    return sites[request.param]


def for_each(names):
    return pytest.mark.parametrize("site", names, indirect=True)


def refusal(answer):
    status, headers, data = answer
    assert headers["content-type"] == "application/json"
    return status, json.loads(data)["error"]


@for_each(EVERY)
@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/", "GET", {"authorization": f"Bearer {TOKEN}"}),
        ("data", "GET", {"authorization": f"Bearer {TOKEN}"}),
        ("/none", "GET", {"authorization": f"Bearer {TOKEN}"}),
        ("/", "DELETE", {}),
        ("/?" + "a" * 3000, "GET", {}),
        ("/", "GET", {"content-length": "9999999"}),
        ("/", "GET", {"authorization": "Bearer no", "host": "evil.example"}),
    ],
)
def test_every_answer_tells_browsers_the_same(site, path, method, headers):
    _, found, _ = site.ask(site.data if path == "data" else path, method, **headers)
    always = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
    assert {name: found.get(name) for name in always} == always
    rule = found["content-security-policy"]
    assert rule.startswith("default-src ")
    assert "frame-ancestors 'none'" in rule
    assert "base-uri 'none'" in rule
    assert "server" not in found


@for_each(LOCAL)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "a@b:c",
        "evil@localhost",
        "a:b@127.0.0.1:80",
        "localhost:80@evil.example",
        "localhost#",
        "localhost/",
        "localhost:",
        "[::1",
        "[localhost]",
        "localhost.",
        "evil.example,localhost",
        "127.0.0.1:1:2",
    ],
)
def test_a_name_that_points_here_is_not_answered(site, host):
    answer = site.ask(site.data, host=host, authorization=f"Bearer {TOKEN}")
    assert refusal(answer) == (421, "this server answers to 127.0.0.1, localhost, ::1 only")


@for_each(LOCAL)
@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1:1", "[::1]:8"])
def test_this_machine_s_own_names_are_answered_whatever_port_leads_here(site, host):
    assert site.ask(site.data, host=host, authorization=f"Bearer {TOKEN}")[0] == 200


@for_each(LOCAL)
def test_a_host_that_is_none_is_survived(site):
    status, _, _ = site.ask(site.data, host="[::1", authorization=f"Bearer {TOKEN}")
    assert status in (400, 421)


@for_each(GUARDED)
@pytest.mark.parametrize("path", ["/", "data", "/none", "/?token=wrong"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": "Bearer \xff\xfe"},
        {"cookie": "factory_token=no"},
        {"cookie": ";;==\x7f"},
    ],
)
def test_without_the_token_nothing_is_told(site, path, headers):
    answer = site.ask(site.data if path == "data" else path, **headers)
    assert answer[1]["www-authenticate"] == "Bearer"
    assert refusal(answer) == (
        401,
        "a token is needed: `Authorization: Bearer TOKEN`, or open /?token=TOKEN in a browser",
    )


@for_each(GUARDED)
def test_the_token_opens_everything_and_in_an_address_the_page_only(site):
    assert site.ask(site.data, authorization=f"Bearer {TOKEN}")[0] == 200
    assert site.ask(f"{site.data}?token={TOKEN}")[0] == 401
    assert site.ask(f"/?token={TOKEN}")[0] in (200, 303)


def test_a_service_that_others_reach_leaves_the_token_as_a_cookie(sites):
    site = sites["guarded service"]
    status, headers, _ = site.ask(f"/?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert site.ask(site.data, cookie=cookie.partition(";")[0], host="any")[0] == 200


def test_the_label_page_leaves_no_cookie_for_other_servers_of_this_machine(sites):
    status, headers, _ = sites["label page"].ask(f"/?token={TOKEN}")
    assert (status, "set-cookie" in headers) == (200, False)
    assert sites["label page"].ask("/facts", cookie=f"factory_token={TOKEN}")[0] == 401


@for_each(EVERY)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS", "PUT"])
def test_what_no_page_asks_is_refused(site, sites, method):
    allowed = "GET, HEAD, PUT" if site is sites["label page"] else "GET, HEAD"
    status, headers, data = site.ask(site.data, method, authorization=f"Bearer {TOKEN}")
    assert status == 405
    if method not in allowed:
        assert headers["allow"] == allowed
        assert json.loads(data) == {"error": f"this server takes {allowed} only"}


@for_each(EVERY)
def test_an_address_that_is_too_long_is_refused(site):
    answer = site.ask(f"{site.data}?{'a' * 3000}", authorization=f"Bearer {TOKEN}")
    assert refusal(answer) == (414, "the address is longer than 2048 bytes")


@for_each(EVERY)
def test_a_body_that_is_too_long_is_refused_before_it_is_read(site, sites):
    most = 2**20 if site is sites["label page"] else 0
    words = f"a body has at most {most} bytes here" if most else "no body is taken here"
    for length in (str(most + 1), "9" * 18):
        assert refusal(site.ask(site.data, **{"content-length": length})) == (413, words)


def test_a_body_without_end_is_cut_off(sites):
    pieces = [b"x" * 2**16] * 16 + [b"x"]
    headers = {"authorization": f"Bearer {TOKEN}", "transfer-encoding": "chunked"}
    answer = sites["label page"].ask("/labels", "PUT", iter(pieces), **headers)
    assert refusal(answer) == (413, f"a body has at most {2**20} bytes here")
    refused = sites["open service"].ask("/v1/summary", **{"transfer-encoding": "chunked"})
    assert refusal(refused) == (413, "no body is taken here")


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def many(clock):
    """Ask a guarded application many times from an address; gives the answers."""

    def build(access):
        guard = Guard(PlainTextResponse("hello"), access=access, clock=lambda: clock[0])

        async def send(times, address, path, headers):
            transport = httpx.ASGITransport(guard, client=(address, 1))
            base = "http://localhost"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return [await client.get(path, headers=headers) for _ in range(times)]

        def ask(times, address="10.0.0.1", path="/", token=""):
            headers = {"authorization": f"Bearer {token}"} if token else {}
            return asyncio.run(send(times, address, path, headers))

        return ask

    return build


def statuses(answers):
    return [answer.status_code for answer in answers]


def test_who_asks_without_pause_is_told_to_wait_and_others_are_not(many, clock):
    ask = many(Access())
    first = ask(402)
    assert statuses(first) == [200] * 400 + [429] * 2
    assert first[-1].json() == {"error": "too many requests; ask again later"}
    assert first[-1].headers["retry-after"] == "1"
    assert first[-1].headers["x-frame-options"] == "DENY"
    assert statuses(ask(1, "10.0.0.2")) == [200]
    clock[0] = 2.0
    assert statuses(ask(1)) == [200]


@pytest.mark.slow
def test_who_has_the_token_does_not_wait_for_others_of_the_same_address(many):
    ask = many(Access(TOKEN, is_local=False))
    assert statuses(ask(402)) == [401] * 400 + [429] * 2
    assert statuses(ask(4001, token=TOKEN)) == [200] * 4000 + [429]
    assert statuses(ask(1, token=TOKEN + "x")) == [429]


def test_all_addresses_of_one_ipv6_network_are_one_caller(many):
    ask = many(Access())
    assert statuses(ask(400, "2001:db8::1")) == [200] * 400
    assert statuses(ask(1, "2001:db8::ffff:2")) == [429]
    assert statuses(ask(1, "2001:db8:0:1::1")) == [200]


@pytest.mark.slow
def test_the_health_check_is_answered_whoever_asks_how_often(many):
    ask = many(Access(TOKEN, is_local=False, health="/healthz"))
    assert statuses(ask(500)) == [401] * 400 + [429] * 100
    assert statuses(ask(1000, path="/healthz")) == [200] * 1000
    assert statuses(ask(1, "10.0.0.9", "/healthzz")) == [401]
    assert statuses(ask(1, "10.0.0.9", "/healthz/../v1/summary")) == [401]


def test_the_health_check_of_the_service_needs_no_token_and_says_only_that_it_is_up(sites):
    site = sites["guarded service"]
    status, headers, data = site.ask("/healthz")
    assert (status, data) == (200, b"ok\n")
    assert not {"set-cookie", "server", "www-authenticate"} & set(headers)
    assert refusal(sites["open service"].ask("/healthz", host="evil.example"))[0] == 421


@pytest.mark.parametrize("host", ["evil@localhost", "a b", "name:port", "a/b"])
def test_a_host_that_is_no_name_is_refused_with_a_token_too(sites, host):
    answer = sites["guarded service"].ask("/v1/summary", host=host, authorization=f"Bearer {TOKEN}")
    assert refusal(answer) == (
        400,
        "Host: a name or an address is allowed, with a port or without",
    )


@pytest.mark.parametrize(
    ("host", "token", "words"),
    [
        ("0.0.0.0", "", "--host: 0.0.0.0 can be reached from other machines; set A_TOKEN to a "),
        ("example.org", "", "--host: example.org can be reached"),
        ("0.0.0.0", "short", "A_TOKEN: found 5 characters; at least 16 printable ASCII ones are "),
        ("127.0.0.1", "short", "A_TOKEN: found 5 characters"),
    ],
)
def test_addresses_that_others_reach_need_a_good_token(host, token, words):
    with pytest.raises(JobError) as caught:
        check_address(host, token, variable="A_TOKEN")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.2.1"])
def test_this_machine_needs_none(host):
    check_address(host, "", variable="A_TOKEN")
    check_address("0.0.0.0", TOKEN, variable="A_TOKEN")
