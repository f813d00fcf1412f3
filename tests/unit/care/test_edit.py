import json
import os

import numpy as np
import pytest
from small_job import small_document
from typer.testing import CliRunner

import factory
from factory.care.edit import EditSettings, edit_sample
from factory.cli.app import app
from factory.data import IGNORE
from factory.edit.figures import measure_edit
from factory.errors import JobError, StoreError
from factory.pack.image import decode_image, decode_mask, encode_mask

KEY = "000000007"
QUICK = EditSettings(steps=25, learning_rate=0.1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The small job with a linear head that finds the toy's parts."""
    folder = tmp_path_factory.mktemp("edited")
    job = small_document(folder, {"dataset.segmenter": {"kind": "toy_head:make_toy_head"}})
    factory.run_job(job, progress=False)
    return folder / "out"


def stored(dataset):
    return factory.open_dataset(dataset)[KEY]


def larger_square(mask):
    """The square larger by a pixel on each side, painted over the mask; all else stays."""
    square = mask == 1
    sides = [np.roll(square, step, axis=axis) for step in (1, -1) for axis in (0, 1)]
    return np.where(np.logical_or.reduce([square, *sides]), 1, IGNORE).astype(np.uint8)


def test_an_edited_sample_has_what_was_painted_and_starts_from_what_is_stored(dataset):
    before = stored(dataset)
    painted = larger_square(before.mask)
    pair = edit_sample(dataset, KEY, painted, settings=QUICK, trust_plugins=True)
    assert np.array_equal(pair.image, before.image)
    assert np.array_equal(pair.mask, before.mask)
    figures = pair.figures
    assert figures.painted_px == int(((painted != IGNORE) & (painted != before.mask)).sum()) > 0
    assert figures.painted_after > figures.painted_before + 0.1
    assert figures.outside_change < figures.inside_change
    assert pair.layout_iou[1] > pair.layout_iou[0]
    assert pair.num_forwards == 27
    again = edit_sample(dataset, KEY, painted, settings=QUICK, trust_plugins=True)
    assert np.array_equal(pair.edited, again.edited)


def test_a_sample_that_was_searched_is_edited_from_the_latents_that_were_found(tmp_path, dataset):
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    (wanted / "a.png").write_bytes(encode_mask(stored(dataset).mask))
    sampling = {"kind": "layout", "layouts": str(wanted), "candidates": 2, "steps": 3}
    head = {"kind": "toy_head:make_toy_head"}
    job = small_document(tmp_path, {"dataset.segmenter": head, "dataset.sampling": sampling})
    factory.run_job(job, progress=False)
    mask = factory.open_dataset(tmp_path / "out")[KEY].mask
    hardly = EditSettings(steps=1, learning_rate=1e-9)
    painted = larger_square(mask)
    pair = edit_sample(tmp_path / "out", KEY, painted, settings=hardly, trust_plugins=True)
    assert np.array_equal(pair.mask, mask)
    assert np.array_equal(pair.edited_mask, mask)


def test_the_command_writes_the_pair_and_tells_what_changed(dataset, tmp_path):
    before = stored(dataset)
    (tmp_path / "new.png").write_bytes(encode_mask(larger_square(before.mask)))
    words = [
        "edit",
        str(dataset),
        KEY,
        "--mask",
        str(tmp_path / "new.png"),
        "-o",
        str(tmp_path / "pair"),
    ]
    said = CliRunner().invoke(app, [*words, "--steps", "3", "--trust-plugins"])
    assert said.exit_code == 0, said.output
    assert "of what was painted has its class now" in said.output
    names = sorted(path.name for path in (tmp_path / "pair").iterdir())
    endings = ["edited.png", "edited_mask.png", "image.png", "json", "mask.png"]
    assert names == [f"{KEY}.{ending}" for ending in endings]
    folder = tmp_path / "pair"
    assert np.array_equal(decode_image((folder / f"{KEY}.image.png").read_bytes()), before.image)
    assert np.array_equal(decode_mask((folder / f"{KEY}.mask.png").read_bytes()), before.mask)
    facts = json.loads((folder / f"{KEY}.json").read_text())
    assert (facts["key"], facts["forwards"]) == (KEY, 5)
    said = CliRunner().invoke(app, [*words, "--steps", "3", "--trust-plugins", "--json"])
    assert json.loads(said.stdout) == facts | {
        "output": str(folder),
        "files": [f"{folder}/{KEY}.{ending}" for ending in FILES],
    }


FILES = ("image.png", "edited.png", "mask.png", "edited_mask.png", "json")


WRONG = {
    "small": (np.zeros((8, 8), np.uint8), "is 8 x 8 px; its picture is 32 x 32"),
    "unknown": (np.full((32, 32), 9, np.uint8), "holds grey values 9 .* of no class"),
    "bare": (np.full((32, 32), IGNORE, np.uint8), "has no painted pixel"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mask_that_cannot_be_used_is_told_in_one_line(dataset, tmp_path, name):
    mask, said = WRONG[name]
    (tmp_path / "new.png").write_bytes(encode_mask(mask))
    with pytest.raises(JobError, match=rf"new\.png: {said}"):
        edit_sample(dataset, KEY, tmp_path / "new.png", trust_plugins=True)
    with pytest.raises(JobError, match="mask: "):
        edit_sample(dataset, KEY, mask, trust_plugins=True)
    with pytest.raises(JobError, match=r"gone\.png: cannot be read"):
        edit_sample(dataset, KEY, tmp_path / "gone.png", trust_plugins=True)


def test_an_unknown_key_and_impossible_settings_are_refused(dataset):
    mask = np.zeros((32, 32), np.uint8)
    with pytest.raises(StoreError, match="no committed shard holds sample '000000999'"):
        edit_sample(dataset, "000000999", mask, trust_plugins=True)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("steps", (0, 10_001, 2.5, True, None, float("nan"))),
        ("learning_rate", (0.0, 11, -1.0, float("nan"), float("inf"), "a", True)),
        ("latents", ("both", None, 1)),
        ("stay", (-1.0, float("nan"), float("inf"), "a", 1001)),
        ("prior", (-1e-9, float("nan"), float("inf"), None)),
    ],
)
def test_settings_that_no_descent_can_use_are_refused_by_name(name, values):
    for value in values:
        settings = EditSettings()
        # Past the shapes that the tests check of every call, which users do without.
        object.__setattr__(settings, name, value)
        with pytest.raises(JobError, match=rf"{name}: found .*; "):
            settings.__post_init__()
    with pytest.raises(JobError, match="steps: found 0; 1 to 10,000"):
        EditSettings(steps=0)


def test_a_mask_that_changes_nothing_is_told_as_a_job_would_tell_it(dataset, tmp_path):
    mask = stored(dataset).mask.copy()
    for painted in (mask, np.where(mask == 1, mask, IGNORE).astype(np.uint8)):
        (tmp_path / "same.png").write_bytes(encode_mask(painted))
        for given in (painted, tmp_path / "same.png"):
            with pytest.raises(JobError, match=f"changes nothing: sample {KEY} has these classes"):
                edit_sample(dataset, KEY, given, trust_plugins=True)


def test_a_pipe_in_place_of_a_mask_is_not_waited_for(dataset, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(JobError, match=r"pipe\.png: is no file; give a PNG"):
        edit_sample(dataset, KEY, tmp_path / "pipe.png", trust_plugins=True)


def test_a_dataset_without_gradients_says_which_have_them(tmp_path):
    parts = {"kind": "plugins.mixing_plugins:Parts"}
    factory.run_job(small_document(tmp_path, {"dataset.segmenter": parts}), progress=False)
    with pytest.raises(JobError, match=r"no `class_scores`.*segmenters with a linear head"):
        edit_sample(tmp_path / "out", KEY, np.zeros((32, 32), np.uint8), trust_plugins=True)


def test_figures_tell_inside_from_outside():
    masks = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8)
    images = (
        np.zeros((1, 4, 3), np.uint8),
        np.array([[[0] * 3, [30] * 3, [3] * 3, [6] * 3]], np.uint8),
    )
    painted = np.array([[IGNORE, 1, 1, IGNORE]], np.uint8)
    found = measure_edit(images, masks, painted)
    assert (found.painted_px, found.painted_before, found.painted_after) == (1, 0.5, 1.0)
    assert (found.inside_change, found.outside_change) == (30.0, 3.0)
    assert found.outside_class_change == pytest.approx(1 / 3, abs=1e-6)
