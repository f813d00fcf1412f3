import json
import re

import numpy as np
import pytest
from colour_network import CLASSES, cell, pack, write_colours, write_pairs
from jsonschema import validate
from typer.testing import CliRunner

import factory
from factory.cli.app import app
from factory.cli.schemas import make_schemas
from factory.downstream.evaluation import evaluate_model
from factory.downstream.model_scores import ModelScores
from factory.downstream.score_settings import ScoreSettings
from factory.errors import JobError, PluginError

pytestmark = pytest.mark.slow

NAMES = ",".join(CLASSES)
FAR = cell()
FAR[0, 0] = 2
HOLE = cell(core=5, rim=6)
HOLE[8, 8] = 0
PAIRS = {
    "p/1": (cell(), cell()),
    "p/2": (cell(core=2), cell()),
    "p/3": (FAR, cell()),
    "p/4": (HOLE, cell(core=5, rim=6)),
    "p/5": (cell(rim=4), cell()),
    "p/6": (np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)),
}
"""What a network sees, and what is right."""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), PAIRS)


def score(net, pairs, **words):
    return evaluate_model(net, pairs, settings=ScoreSettings(reference_names=CLASSES, **words))


def part(scores, name):
    return next(one for one in scores.parts if one.name == name)


def by_hand(k, changed=None):
    seen = {**{key: one for key, (one, _) in PAIRS.items()}, **(changed or {})}
    found = []
    for key, (_, true) in PAIRS.items():
        a, b = seen[key] == k, true == k
        if (a | b).any():
            found.append((a & b).sum() / (a | b).sum())
    return np.mean(found)


def test_scores_are_those_of_the_squares(net, pairs):
    found = score(net, pairs)
    assert found.num_pictures == 6
    for k, name in enumerate(CLASSES):
        assert part(found, name).iou.value == pytest.approx(by_hand(k), abs=1e-5)
    assert part(found, "core").num_pictures == 5
    assert found.miou.value == pytest.approx(np.mean([by_hand(k) for k in range(3)]), abs=1e-5)
    assert found.miou_foreground.value == pytest.approx((by_hand(1) + by_hand(2)) / 2, abs=1e-5)
    assert [row.key for row in found.by_picture] == list(PAIRS)
    assert found.by_picture[5].iou == {"ground": 1.0, "rim": None, "core": None}
    assert isinstance(found, ModelScores)
    assert found == score(net, pairs), "the bootstrap is seeded"
    assert found != score(net, pairs, seed=1)


def test_the_middle_object_alone_may_stay_and_holes_be_filled(net, pairs):
    cleaned = {"p/3": cell(), "p/4": cell(core=5, rim=6)}
    found = score(net, pairs, keep="central", fill_holes=True)
    assert part(found, "core").iou.value == pytest.approx(by_hand(2, cleaned), abs=1e-5)
    assert part(found, "core").iou.value > part(score(net, pairs), "core").iou.value


def test_a_folder_a_tar_and_tiles_score_alike(net, pairs, tmp_path):
    whole = score(net, pairs)
    tar = score(net, pack(pairs, tmp_path / "pairs.tar"), view="tiles")
    assert [p.iou for p in tar.parts] == [p.iou for p in whole.parts]
    assert tar.view == "tiles"


def test_classes_are_matched_by_map_then_by_name_and_the_rest_is_background(pairs, tmp_path):
    net = write_colours(tmp_path, ("ground", "red", "core"))
    found = score(net, pairs, mapping={"red": "rim"})
    assert found.matching == {"ground": "ground", "red": "rim", "core": "core"}
    assert part(found, "rim").iou.value == pytest.approx(by_hand(1), abs=1e-5)
    assert score(net, pairs).matching["red"] == "ground"
    assert part(score(net, pairs), "rim").iou.value == 0


def test_a_paper_with_two_classes_sees_foreground_alone(net, pairs):
    found = score(net, pairs, protocol="melas2022")
    whole = part(score(net, pairs, unions={"whole": ("rim", "core")}), "whole")
    assert [one.name for one in found.parts] == ["background", "foreground"]
    assert found.figures["iou"] == part(found, "foreground").iou == whole.iou
    assert found.figures["accuracy"] == found.accuracy
    assert whole.iou.value < found.figures["max_f"].value <= 1
    found = score(net, pairs, protocol="feng2023")
    assert set(found.figures) == {
        *("foreground", "background", "mean"),
        *("trimap_foreground", "trimap_background", "trimap_mean"),
    }
    assert found.figures["foreground"] == whole.iou_global
    assert found.figures["trimap_foreground"] == whole.trimap_global


def test_a_paper_with_two_classes_takes_the_first_class_of_strangers_as_background(pairs, tmp_path):
    net = write_colours(tmp_path, ("nothing", "wheel", "door"))
    found = score(net, pairs, protocol="feng2023")
    assert found.matching == {
        "nothing": "background", "wheel": "foreground", "door": "foreground"
    }  # fmt: skip


def test_klish_matches_strangers_on_other_pictures_than_it_scores(tmp_path):
    net = write_colours(tmp_path / "net", ("c0", "c1", "c2"))
    many = {f"{i}": (cell(core=2 + i % 2), cell()) for i in range(12)}
    pairs = write_pairs(tmp_path / "pairs", many)
    found = score(net, pairs, protocol="klish2023")
    assert found.matching == {"c0": "ground", "c1": "rim", "c2": "core"}
    assert found.num_pictures + found.num_matched_on == 12
    assert 0 < found.num_matched_on < 12
    assert found.figures == {"miou": found.miou_foreground}
    with pytest.raises(JobError, match="1 pictures; enough to match classes"):
        score(net, pairs, protocol="klish2023", limit=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"mapping": {"cor": "core"}}, "--map: found 'cor'; the network's classes .* 'core'"),
        ({"mapping": {"core": "nucleus"}}, "--map: found 'nucleus'; the masks' classes are"),
        ({"unions": {"whole": ("rim", "cor")}}, "--union whole: found 'cor'"),
        ({"unions": {"rim": ("core",)}}, "--union: 'rim'; a new name"),
        ({"background": "sky"}, "--background: found 'sky'"),
        ({"reference_names": ("a", "b", "c")}, "no class of the network .* give --map"),
        ({"reference_names": ("ground", "rim")}, "p/1: its mask has the value 2; names for 0 to 1"),
        ({"reference_names": ("a", "a")}, "a name twice"),
        ({"reference_names": ()}, "the masks' classes have no names; give --reference-names"),
    ],
)
def test_names_that_fit_nothing_are_told_in_one_line(words, said, net, pairs):
    with pytest.raises(JobError, match=said) as caught:
        evaluate_model(net, pairs, settings=ScoreSettings(**{"reference_names": CLASSES, **words}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [{"trimap_px": 0}, {"seed": -1}, {"limit": -2}])
def test_numbers_out_of_bounds_are_refused(words):
    with pytest.raises(JobError, match=next(iter(words))):
        ScoreSettings(**words)


def run(*words):
    return CliRunner().invoke(app, ["eval", "model", *map(str, words)])


def test_the_command_prints_writes_json_and_a_page(net, pairs, tmp_path):
    words = (net, "--on", pairs, "--reference-names", NAMES, "--union", "whole=rim+core")
    result = run(*words, "--report", tmp_path / "new/page.html")
    assert result.exit_code == 0, result.output
    assert re.search(r"^whole +0\.\d{3} \[", result.output, re.MULTILINE)
    page = (tmp_path / "new/page.html").read_text()
    assert page.count("<figure>") == 4 * 5, "four pictures of each that shows more than background"
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    result = run(*words, "--json")
    found = json.loads(result.stdout)
    validate(found, json.loads(make_schemas()["model_scores.schema.json"]))
    assert found["parts"][3]["classes"] == ["rim", "core"]
    assert found == score(net, pairs, unions={"whole": ("rim", "core")}).model_dump(mode="json")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--map", "rim"), 2, "--map: found 'rim'; NAME=NAME"),
        (("--map", "rim=rim,rim=core"), 2, "--map: found 'rim' twice"),
        (("--union", "=a"), 2, "--union: found '=a'"),
        (("--protocol", "xu2023"), 2, "xu2023"),
    ],
)
def test_options_that_cannot_be_read_are_told(words, code, said, net, pairs):
    result = run(net, "--on", pairs, "--reference-names", NAMES, *words)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_class_in_no_mask_is_named_and_masks_without_classes_are_refused(net, tmp_path):
    rims = np.minimum(cell(), 1)
    folder = write_pairs(tmp_path / "rims", {"1": (cell(), rims)})
    result = run(net, "--on", folder, "--reference-names", NAMES)
    assert result.exit_code == 0
    assert "in no mask, so that any answer of them is wrong: core\n" in result.output
    found = score(net, folder)
    assert [one.num_true for one in found.parts] == [1, 1, 0]
    assert part(found, "core").iou.value == 0
    void = np.full((16, 16), 255, np.uint8)
    folder = write_pairs(tmp_path / "void", {"1": (cell(), void), "2": (cell(), void)})
    for protocol in ("none", "feng2023", "melas2022"):
        with pytest.raises(JobError, match="void: no pixel of any mask has a class; values other"):
            score(net, folder, protocol=protocol)


def test_exit_codes_tell_a_bad_network_from_bad_pictures(net, pairs, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"no network")
    assert run(tmp_path / "model.pt", "--on", pairs).exit_code == PluginError.exit_code
    (tmp_path / "empty").mkdir()
    result = run(net, "--on", tmp_path / "empty")
    assert result.exit_code == JobError.exit_code
    assert result.output.count("\n") == 1


def test_the_public_function_is_the_same_one():
    assert factory.evaluate_model is evaluate_model
