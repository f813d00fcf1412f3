"""Clean-up of masks: each step on masks small enough to be read, then all of them on any mask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_job import make_small, small_job

from factory import open_dataset
from factory.data import IGNORE
from factory.described import field_docstrings
from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.batch import MaskBatch
from factory.manifest.labels import MaskClass
from factory.segment.base import (
    CleanedSegmenter,
    FittedSegmenter,
    InstanceSegmenter,
    Mergeable,
    Segmenter,
    load_segmenter,
)
from factory.segment.clean import make_cleaner, smooth_masks
from factory.segment.objects.components import number_components
from factory.spec.clean import CleanSpec

LABELS = tuple(
    MaskClass(id=i, name=n, colour=(0, 0, i))
    for i, n in enumerate(["ground", "red", "body", "core"])
)
SYMBOLS = {".": 0, "r": 1, "b": 2, "c": 3, "?": IGNORE}


def read(text):
    rows = text.split()
    return np.array([[SYMBOLS[symbol] for symbol in row] for row in rows], dtype=np.uint8)


def shown(mask):
    names = {value: symbol for symbol, value in SYMBOLS.items()}
    return "\n".join("".join(names[int(value)] for value in row) for row in mask)


def clean(text, **settings):
    spec = CleanSpec.model_validate({"classes": ["body", "core"], **settings})
    return shown(make_cleaner(spec, LABELS).clean_parts(read(text))).split()


def test_the_central_part_stays_even_if_another_is_larger():
    before = "bb..... bb..... bb..bc. bb..... bb....."
    assert clean(before, keep="central") == [".......", ".......", "....bc.", ".......", "......."]
    assert clean(before, keep="largest") == ["bb.....", "bb.....", "bb.....", "bb.....", "bb....."]


def test_of_two_parts_equally_near_the_larger_stays():
    assert clean("b.... ..... .b.bb", keep="central") == [".....", ".....", "...bb"]
    assert clean("bb...b", keep="central") == ["bb...."]


def test_what_is_taken_away_becomes_what_lies_around_it():
    assert clean("rrrrr rbbrr rrrrr ..b..", min_area=3) == ["rrrrr", "rrrrr", "rrrrr", "....."]


def test_a_part_that_fills_the_image_is_ignored_because_nothing_lies_around_it():
    assert clean("bbb bcb", border_objects="drop") == ["???", "???"]


def test_what_is_taken_away_among_unclaimed_pixels_is_unclaimed_too_as_the_setting_says():
    assert clean("?????? ?b?bb? ??????", keep="largest") == ["??????", "???bb?", "??????"]
    told = field_docstrings(CleanSpec)["keep"]
    assert "255 if it has none" in " ".join(told.split())


def test_parts_at_the_border_are_dropped_or_ignored_and_do_not_count_as_the_one_to_keep():
    before = "bb.... bb.... ...b.. ......"
    assert clean(before, border_objects="drop", keep="largest") == (
        ["......", "......", "...b..", "......"]
    )
    assert clean(before, border_objects="ignore", keep="largest") == (
        ["??....", "??....", "...b..", "......"]
    )


def test_holes_take_the_class_that_most_of_their_border_has_and_bays_stay():
    assert clean("bbbb. b.rb. bccb. .....", fill_holes=True) == ["bbbb.", "bbbb.", "bccb.", "....."]
    assert clean("bbb b.. bbb", fill_holes=True) == ["bbb", "b..", "bbb"]


def test_unclaimed_pixels_stay_unclaimed_and_open_no_hole():
    assert clean("bbbb b?.b bbbb", fill_holes=True) == ["bbbb", "b?bb", "bbbb"]


def test_smoothing_takes_the_class_of_most_neighbours_and_a_tie_changes_nothing():
    mask = torch.from_numpy(read("..... ..b.. ..... bbbbb ?bbbb"))[None]
    smooth = shown(smooth_masks(mask, 1, len(LABELS))[0].numpy())
    assert smooth.split() == [".....", ".....", ".....", "bbbbb", "?bbbb"]
    tie = torch.from_numpy(read("..bb ..bb"))[None]
    assert torch.equal(smooth_masks(tie, 1, len(LABELS)), tie)


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.sampled_from([0, 1, 2, 3, IGNORE]),
    ),
    st.sampled_from(["all", "largest", "central"]),
    st.sampled_from(["keep", "drop", "ignore"]),
    st.integers(0, 4),
    st.booleans(),
)
def test_any_mask_comes_out_as_it_was_asked_for(mask, keep, border, least, fill):
    settings = {"keep": keep, "border_objects": border, "min_area": least, "fill_holes": fill}
    cleaner = make_cleaner(CleanSpec.model_validate({"classes": [2, 3], **settings}), LABELS)
    before = mask.copy()
    found = cleaner.clean_parts(mask)
    assert (mask == before).all()
    parts = number_components(np.isin(found, [2, 3]))
    sizes = np.bincount(parts.ravel())[1:]
    assert (sizes >= least).all()
    assert keep == "all" or len(sizes) <= 1
    if border != "keep":
        assert not np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]).any()
    assert (found[mask == IGNORE] == IGNORE).all()
    assert (cleaner.clean_parts(found) == found).all() or fill  # what is taken away may open a hole


def test_counts_and_confidence_follow_the_mask():
    masks = torch.from_numpy(np.stack([read("bb.. ...c ...."), read(".... .bb. ....")]))
    by_px = torch.full(masks.shape, 0.5)
    by_px[0, 0, 0] = 1.0
    count = torch.stack([(masks == label).sum(dim=(1, 2)) for label in range(4)], dim=1)
    found = MaskBatch(masks, by_px.mean(dim=(1, 2)), count, by_px)
    spec = CleanSpec(classes=["body", "core"], border_objects="ignore")
    done = make_cleaner(spec, LABELS).clean(found)
    assert done.class_px.tolist() == [[9, 0, 0, 0], [10, 0, 2, 0]]
    assert done.cleaned_px is not None
    assert done.cleaned_px.tolist() == [3, 0]
    assert done.confidence.tolist() == [0.5, 0.5]
    assert float(done.confidence_by_px[0, 0, 0]) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"classes": ["bodi"], "keep": "largest"},
            "found class bodi; the segmenter has classes 0 to 3: ground, red",
        ),
        ({"classes": [4], "keep": "largest"}, "found class 4; the segmenter has classes 0 to 3"),
        (
            {"classes": ["bodi", "core", 9], "keep": "largest"},
            "found classes bodi and 9; the segmenter has classes 0 to 3: ground, red, body, core",
        ),
        (
            {"classes": ["body", 2], "keep": "largest"},
            "found class body twice; leave one of them out",
        ),
        ({"classes": [0, 1, 2, 3], "keep": "largest"}, "found all 4 classes of the segmenter"),
    ],
)
def test_classes_that_the_masks_do_not_have_are_refused(settings, words):
    with pytest.raises(JobError, match="clean") as caught:
        make_cleaner(CleanSpec.model_validate(settings), LABELS)
    assert words in str(caught.value)


def test_a_clean_up_that_does_nothing_is_refused(tmp_path):
    with pytest.raises(JobError, match="does nothing; set smooth"):
        small_job(tmp_path, {"dataset.segmenter.clean": {"classes": [1]}})


def test_objects_that_are_told_apart_are_not_cleaned(tmp_path):
    segmenter = {"kind": "style_mixing", "instances": {}, "clean": {"keep": "largest"}}
    with pytest.raises(JobError, match="beside `instances`"):
        make_small(tmp_path, {"dataset.segmenter": segmenter})


@pytest.mark.slow
def test_a_dataset_of_clean_masks_counts_what_was_changed_and_is_another_one(tmp_path):
    plain = make_small(tmp_path / "plain")
    settings = {"dataset.segmenter.clean": {"keep": "largest", "fill_holes": True}}
    clean_one = make_small(tmp_path / "clean", settings)
    assert plain.dataset_id != clean_one.dataset_id
    before, after = (open_dataset(str(tmp_path / name / "out")) for name in ("plain", "clean"))
    table = after.facts()
    changed = [int((before[key].mask != after[key].mask).sum()) for key in table["key"].to_pylist()]
    assert table["cleaned_px"].to_pylist() == changed
    assert sum(changed) > 0
    for key in table["key"].to_pylist():
        assert number_components(after[key].mask > 0).max() <= 1
        assert after[key].facts.cleaned_px == changed[int(key)]


@pytest.mark.slow
def test_what_a_segmenter_promises_beside_its_masks_stays_with_it(tmp_path):
    settings = {"kind": "klish", "initial_clusters": 6, "clean": {"keep": "largest"}}
    overrides = {"dataset.segmenter": settings}
    manifest = make_small(tmp_path, overrides)
    spec = small_job(tmp_path, overrides).dataset
    cpu = torch.device("cpu")
    generator = load_generator(spec.generator, None, device=cpu)
    fitted = tmp_path / "out" / "segmenter.safetensors"
    found = load_segmenter(spec.segmenter, fitted, generator.facts, cpu)
    assert isinstance(found, CleanedSegmenter)
    assert isinstance(found, FittedSegmenter)
    assert isinstance(found, Mergeable)
    assert manifest.meaning.coarser == list(found.coarser)
    assert not isinstance(found, Segmenter)
    assert not isinstance(found, InstanceSegmenter)
