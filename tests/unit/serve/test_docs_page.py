"""The page about the HTTP API: whole, linked, and nothing in it is markup by accident."""

import re
from html.parser import HTMLParser

from pydantic import BaseModel, Field

from factory.serve.docs_page import make_docs
from factory.serve.openapi import ENDPOINTS, FOLDER_ENDPOINTS, Endpoint, make_openapi


class Found(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.tags, self.text = set(), set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.tags.append(tag)
        self.ids |= {facts["id"]} if "id" in facts else set()
        self.links |= {facts["href"]} if tag == "a" else set()

    def handle_data(self, data):
        self.text.append(data)


def test_every_endpoint_parameter_and_answer_is_on_the_page_and_links_lead_somewhere():
    document, found = make_openapi("1"), Found(make_docs("1"))
    text = "".join(found.text)
    for path, methods in document["paths"].items():
        assert f"GET {path}" in text
        assert all(f"{one['name']}" in text for one in methods["get"]["parameters"])
    for name, schema in document["components"]["schemas"].items():
        assert name in found.ids
        assert all(field in text for field in schema.get("properties", ()))
    inside = {link.removeprefix("#") for link in found.links if link.startswith("#")}
    assert len(inside) > 15
    assert inside <= found.ids
    assert found.links - {f"#{name}" for name in inside} == {"./", "v1/openapi.json"}


def test_bounds_choices_and_defaults_are_said():
    page = make_docs("1", ENDPOINTS)
    row = re.search(
        r"<code>limit</code></th><td>(.*?)</td>", page[page.index("/v1/samples</code>") :]
    )
    assert row is not None
    assert row[1] == "integer; 1 to 48; default <code>24</code>"
    assert "one of <code>ascending</code>, <code>descending</code>" in page
    assert "<code>421</code></th><td>The Host header names another host." in page


def test_a_folder_has_a_page_of_its_own():
    text = "".join(Found(make_docs("1", FOLDER_ENDPOINTS)).text)
    assert "GET /v1/datasets" in text
    assert "GET /v1/summary" not in text


def test_descriptions_are_text_and_no_markup():
    class Odd(BaseModel):
        """<script>x</script>"""

        field: str = Field(pattern="<b>", description="`a<b` & more")

    page = make_docs("1", [Endpoint("/<i>", "odd", "<script>alert(1)</script>", Odd)])
    found = Found(page)
    assert not {"script", "i", "b"} & set(found.tags)
    assert "<code>a&lt;b</code> &amp; more" in page
