"""Scripts of the pages: every one that is imported is given out, under the name it is imported by."""

import json
import re

import pytest

from factory.label import page as label_page
from factory.label.painting import page as painting_page
from factory.label.scripts import content_rule, import_map, script_names

PAGES = {
    "label": (label_page.live_page, label_page.ASSETS),
    "painting": (painting_page.live_page, painting_page.ASSETS),
}


def imports_of(page):
    return json.loads(re.search(r'"importmap"[^>]*>(.*?)</script>', page.decode())[1])["imports"]


@pytest.mark.parametrize("name", PAGES)
def test_every_import_of_a_script_is_in_the_map(name):
    live_page, folder = PAGES[name]
    known = set(imports_of(live_page("nonce")))
    wanted = {
        found
        for path in folder.glob("*.js")
        for found in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert wanted
    assert wanted <= known


def test_the_painting_page_gives_out_every_script_of_its_map_once():
    names = [path.name for path in painting_page.public_files()]
    assert len(names) == len(set(names))
    for address in imports_of(painting_page.live_page("nonce")).values():
        assert address.removeprefix("/assets/") in names


def test_inline_scripts_carry_the_nonce_of_the_rule():
    page = painting_page.live_page("abc").decode()
    inline = re.findall(r"<script(?![^>]*src)[^>]*>", page)
    assert len(inline) == 2
    assert all('nonce="abc"' in script for script in inline)
    assert "'nonce-abc'" in content_rule("abc")
    assert "unsafe" not in content_rule("abc")
    assert "nonce" not in import_map({}, "")


def test_names_of_scripts_are_sorted_and_without_their_ending(tmp_path):
    for name in ("b.js", "a.js", "c.css"):
        (tmp_path / name).touch()
    assert script_names(tmp_path) == ["a", "b"]
