"""What a notebook shows of a dataset, whose every text may be somebody else's."""

import re

import pytest
from receipts import a_manifest, a_record

from factory.dataset.notebook import describe_html
from factory.manifest.labels import MaskClass
from factory.store import open_store

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def cells_of(html):
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<td>(.*?)</td>", re.sub(r"<span.*?</span>", "", row)) for row in rows[1:]]


def test_samples_and_pixels_are_added_up_over_the_shards(store):
    records = [a_record(i, ignore_px=64) for i in range(2)]
    html = describe_html(store, a_manifest(records), "tiny")
    assert html.startswith("<p>tiny</p><table>")
    assert cells_of(html) == [
        ["0", " ground", "6", "95.7%"],
        ["1", " disc", "2", "2.3%"],
        ["255", "no class", "", "2.0%"],
    ]


def test_a_dataset_without_pixels_of_no_class_or_without_shards_has_no_row_for_them(store):
    assert len(cells_of(describe_html(store, a_manifest([a_record()]), ""))) == 2
    assert cells_of(describe_html(store, a_manifest(), "")) == [
        ["0", " ground", "0", "0.0%"],
        ["1", " disc", "0", "0.0%"],
    ]


def test_no_name_becomes_markup(store):
    manifest = a_manifest()
    label = MaskClass(id=0, name="<b>&", colour=(1, 2, 3))
    meaning = manifest.meaning.model_copy(update={"labels": [label]})
    html = describe_html(store, manifest.model_copy(update={"meaning": meaning}), "<script>")
    assert "<p>&lt;script&gt;</p>" in html
    assert " &lt;b&gt;&amp;" in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("data", "is_shown"),
    [
        (PNG + b"x", True),
        (PNG + bytes(2**22 - len(PNG)), True),
        (PNG + bytes(2**22 - len(PNG) + 1), False),
        (b"<svg onload=x>", False),
    ],
    ids=["a picture", "the largest", "too large", "not a picture"],
)
def test_only_a_picture_that_a_notebook_can_keep_is_in_it(store, data, is_shown):
    store.replace("preview.png", data)
    assert ("<img" in describe_html(store, a_manifest(), "")) == is_shown
