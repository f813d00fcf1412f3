"""What the label page shows: the tree's drawing, and masks of any cut."""

import base64
import json
import re
import zlib
from dataclasses import replace

import torch
from small_label import small_material

from factory.label.closer import CloserLook
from factory.label.figures import describe_classes, describe_sample
from factory.label.kept import keep_closer_looks, kept_cuts
from factory.label.page import kept_page
from factory.label.survey import Survey
from factory.segment.tree.suggest import suggest_cuts

CPU = torch.device("cpu")


def test_the_kept_page_names_no_address():
    text = kept_page(small_material()).decode()
    assert "$" not in re.sub(r"\$\{", "", text.split('id="facts"')[0])
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
    assert sorted(map(int, facts["masks"])) == list(range(2, 13))


def test_the_kept_page_looks_closer_at_small_and_suggested_cuts_as_the_server_would():
    material = small_material()
    text = kept_page(material).decode()
    closer = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])["closer"]
    suggested = [count for count, _ in suggest_cuts(material.tree).ranked[:4]]
    assert [int(count) for count in closer["cuts"]] == kept_cuts(material.tree)
    assert set(kept_cuts(material.tree)) == {*range(2, 13), *suggested}
    cut = closer["cuts"]["4"]
    groups = [[node] for node in cut["nodes"]]
    figures = describe_classes(material, groups)
    assert cut["classes"] == json.loads(json.dumps(figures["classes"]))
    look = CloserLook(material.renderer)
    for at, found in enumerate(figures["classes"]):
        indices = [*found["typical"], *found["doubtful"]]
        assert sorted(map(int, cut["masks"][at])) == sorted(indices)
        for index in indices:
            sample = describe_sample(look, index, groups, at)
            assert closer["images"][str(index)] == sample["image"]
            both = zlib.decompress(base64.b64decode(cut["masks"][at][str(index)]))
            assert both == base64.b64decode(sample["inside"]) + base64.b64decode(sample["parts"])


def test_pictures_above_128_px_are_kept_smaller(monkeypatch):
    """A report of 256 px pictures would be four times as large."""
    monkeypatch.setattr("factory.label.kept._MOST_PX", 16)
    closer = keep_closer_looks(small_material())
    assert closer["side"] == 16
    found = next(text for masks in closer["cuts"][3]["masks"] for text in masks.values())
    assert len(zlib.decompress(base64.b64decode(found))) == 2 * 16 * 16


def test_a_page_of_a_material_without_figures_keeps_no_closer_looks():
    material = small_material()
    text = kept_page(replace(material, survey=Survey(material.renderer, 4))).decode()
    assert json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])["closer"] is None


def test_a_name_cannot_end_the_script_it_stands_in():
    text = kept_page(replace(small_material(), name="</script><b>")).decode()
    assert "</script><b>" not in text
