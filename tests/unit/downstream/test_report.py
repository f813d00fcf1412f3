import base64
import io
import re

import numpy as np
import pytest
from colour_network import CLASSES, cell, write_colours, write_pairs
from PIL import Image

from factory.downstream.evaluation import open_evaluation
from factory.downstream.report import make_report
from factory.downstream.score_settings import ScoreSettings

pytestmark = pytest.mark.slow

PAIRS = {"good": (cell(), cell()), "bad<b>": (cell(core=1, rim=2), cell())}

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    net = write_colours(folder / "net", ("ground", EVIL, "core"))
    pairs = write_pairs(folder / "pairs", PAIRS)
    settings = ScoreSettings(reference_names=CLASSES, mapping={EVIL: "rim"})
    evaluation = open_evaluation(net, pairs, settings=settings)
    scores = evaluation.run()
    best, worst = evaluation.extremes(scores, 3)
    assert [one.picture.key for one in best] == ["good"]
    assert [one.picture.key for one in worst] == ["bad<b>"]
    return make_report(scores, evaluation.classes, best, worst).decode()


def pictures(page):
    for found in re.findall(r"data:image/png;base64,([^\"]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(found))) as picture:
            yield np.asarray(picture.convert("RGB"))


def test_it_needs_no_other_file_and_no_script(page):
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page
    assert len(list(pictures(page))) == 8


def test_names_are_text(page):
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert "bad<b>" not in page
    assert "bad&lt;b&gt;" in page


def test_wrong_pixels_are_marked_and_no_others(page):
    worst, best = (list(pictures(page))[place] for place in (3, 7))
    marked = (worst == (230, 30, 90)).all(axis=2)
    assert marked.mean() == (PAIRS["bad<b>"][0] != PAIRS["bad<b>"][1]).mean()
    assert not (best == (230, 30, 90)).all(axis=2).any()
