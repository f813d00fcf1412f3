"""Datasets of composites: from the job to its samples, and what is refused."""

import os

import numpy as np
import pytest
from painted import generated_pictures
from PIL import Image
from small_job import EXACT_PARTS, small_document, small_job

import factory
from factory.care.repair import find_repairs
from factory.errors import DamageError, JobError, StoreError
from factory.manifest.paths import BACKGROUNDS_PATH
from factory.run.calibrate import calibrate
from factory.spec.read import check_job
from factory.store import open_store

pytestmark = pytest.mark.slow

PARTS = {"dataset.segmenter": EXACT_PARTS}
DISC = {"classes": ["disc", "core"]}
ALPHA = {"kind": "alpha", "steps": 3, "images_per_step": 4, "threshold": 0.5}


def rooms(folder, count=5, side=40):
    """Pictures of rooms: a plain colour each, with a stripe that is cropped away."""
    folder.mkdir()
    for place in range(count):
        picture = np.full((side, side + 20, 3), 20 + place * 40, np.uint8)
        picture[:, :5] = 255
        Image.fromarray(picture).save(folder / f"room{place}.png")
    return folder


def job(folder, compose, overrides=None):
    return small_document(folder, PARTS | {"dataset.compose": compose} | (overrides or {}))


def run(document):
    factory.run_job(document, progress=False)
    return factory.open_dataset(document["output"]["uri"])


def plain_samples(folder):
    """The same samples without composites, and those that follow: by index."""
    document = small_document(folder / "plain", PARTS | {"dataset.num_samples": 25})
    return {sample.facts.index: sample for sample in run(document)}


def test_an_object_lies_on_the_next_sample_with_both_masks(tmp_path):
    found = run(job(tmp_path, {"background": "other_sample", **DISC}))
    plain = plain_samples(tmp_path)
    assert len(found) == 13
    for sample in found:
        other = plain[int(sample.facts.background)]
        own = plain[sample.facts.index]
        shows = np.isin(own.mask, (2, 3))
        assert 0 < shows.sum() < shows.size
        assert np.array_equal(sample.image, np.where(shows[..., None], own.image, other.image))
        assert np.array_equal(sample.mask, np.where(shows, own.mask, other.mask))
        assert sample.facts.class_px == np.bincount(sample.mask.ravel(), minlength=4).tolist()
    # Shards of five in batches of three: neither their borders nor those of batches matter.
    assert [int(sample.facts.background) for sample in found] == list(range(1, 14))


def test_a_sample_of_one_split_never_lies_on_one_of_another(tmp_path):
    splits = {"dataset.splits": {"train": 0.5, "test": 0.5}}
    document = job(tmp_path, {"background": "other_sample", **DISC}, splits)
    factory.run_job(document, progress=False)
    seen = {}
    for split in ("train", "test"):
        facts = factory.open_dataset(document["output"]["uri"], split=split).facts(
            ["index", "background"]
        )
        behind = [int(key) for key in facts["background"].to_pylist()]
        seen[split] = set(facts["index"].to_pylist()) | set(behind)
        assert all(
            one != other for one, other in zip(facts["index"].to_pylist(), behind, strict=True)
        )
    assert len(seen["train"]) > 2
    assert len(seen["test"]) > 2
    assert not seen["train"] & seen["test"]


@pytest.mark.parametrize("splits", [None, {"train": 0.5, "test": 0.5}])
def test_composites_without_shards_lie_on_the_same_samples(tmp_path, splits):
    overrides = {"dataset.splits": splits} if splits else {}
    document = job(tmp_path, {"background": "other_sample", **DISC}, overrides)
    factory.run_job(document, progress=False)
    where = document["output"]["uri"]
    stored = {
        sample.key: sample.image
        for split in ("train", "test")[: 2 if splits else 1]
        for sample in factory.open_dataset(where, split=split)
    }
    streamed = list(factory.stream(document, num_samples=10, progress=False))
    assert [pair["key"] for pair in streamed] == sorted(stored)[:10]
    for pair in streamed:
        assert np.array_equal(pair["image"].permute(1, 2, 0), stored[pair["key"]])


def test_an_object_lies_on_a_picture_of_the_folder_with_the_ground_s_class(tmp_path):
    pictures = rooms(tmp_path / "rooms")
    compose = {"background": "folder", "folder": str(pictures), "classes": [1, 2, 3]}
    found = run(job(tmp_path, compose))
    plain = plain_samples(tmp_path)
    names = {sample.facts.background for sample in found}
    assert names <= {f"room{place}.png" for place in range(5)}
    assert len(names) > 2
    for sample in found:
        own, colour = plain[sample.facts.index], 20 + 40 * int(sample.facts.background[4])
        shows = own.mask > 0
        assert np.array_equal(sample.image, np.where(shows[..., None], own.image, colour))
        assert np.array_equal(sample.mask, own.mask)  # ground stays ground


def test_of_several_grounds_none_is_claimed_for_a_picture_from_elsewhere(tmp_path):
    compose = {"background": "folder", "folder": str(rooms(tmp_path / "rooms")), **DISC}
    plain = plain_samples(tmp_path)
    for sample in run(job(tmp_path, compose)):
        own = plain[sample.facts.index].mask
        assert np.array_equal(sample.mask, np.where(np.isin(own, (2, 3)), own, 255))


def with_alpha(folder, compose, **encode):
    pictures = generated_pictures(folder / "pictures", small_job(folder).dataset)
    return job(
        folder,
        compose,
        {
            "dataset.segmenter": ALPHA | {"images": str(pictures)},
            "dataset.encode": {"alpha": True, "confidence": True, **encode},
        },
    )


@pytest.mark.parametrize("background", ["other_sample", "folder"])
def test_soft_edges_are_mixed_and_stored(tmp_path, background, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compose = {"background": background}
    if background == "folder":
        compose["folder"] = str(rooms(tmp_path / "rooms"))
    document = with_alpha(tmp_path, compose)
    found = run(document)
    del document["dataset"]["compose"]
    document["output"]["uri"] = str(tmp_path / "plain")
    document["dataset"]["num_samples"] = 25
    plain = {sample.facts.index: sample for sample in run(document)}
    for sample in found:
        own, share = plain[sample.facts.index], plain[sample.facts.index].alpha / 255
        if background == "folder":
            colour = 20 + 40 * int(sample.facts.background[4])
            behind, behind_share = np.full_like(own.image, colour), np.zeros_like(share)
            masks = own.mask, np.zeros_like(own.mask)
        else:
            other = plain[int(sample.facts.background)]
            behind, behind_share, masks = other.image, other.alpha / 255, (own.mask, other.mask)
        wanted = own.image * share[..., None] + behind * (1 - share[..., None])
        assert np.abs(sample.image - wanted).max() <= 1.5  # alpha is stored in 256 steps
        assert np.abs(sample.alpha / 255 - (share + (1 - share) * behind_share)).max() < 0.01
        assert np.array_equal(sample.mask, np.where(masks[0] == 1, 1, masks[1]))
    assert not factory.verify_dataset(tmp_path / "out", deep=True, regenerate=13).problems


@pytest.mark.parametrize("background", ["other_sample", "folder"])
def test_composites_are_the_same_after_growth_and_made_again(tmp_path, background):
    compose = {"background": background, **DISC}
    if background == "folder":
        compose["folder"] = str(rooms(tmp_path / "rooms"))
    run(job(tmp_path, compose, {"dataset.num_samples": 6}))
    run(job(tmp_path, compose))  # it grows
    assert len(sorted((tmp_path / "out" / "data").rglob("*.tar"))) == 4
    again = factory.verify_dataset(tmp_path / "out", deep=True, regenerate=13, trust_plugins=True)
    assert (again.problems, again.num_regenerated) == ((), 13)


def test_a_dataset_goes_on_without_its_folder_and_not_with_another_one(tmp_path):
    pictures = rooms(tmp_path / "rooms")
    compose = {"background": "folder", "folder": str(pictures), **DISC}
    run(job(tmp_path, compose))
    pictures.rename(tmp_path / "moved")
    assert len(run(job(tmp_path, compose, {"dataset.num_samples": 17}))) == 17
    compose["folder"] = str(tmp_path / "moved")
    assert len(run(job(tmp_path, compose, {"dataset.num_samples": 18}))) == 18
    compose["folder"] = str(rooms(tmp_path / "others", count=4))
    with pytest.raises(StoreError, match=r"compose\.backgrounds_sha256: "):
        run(job(tmp_path, compose, {"dataset.num_samples": 18}))


def test_damaged_backgrounds_are_found_removed_and_written_again(tmp_path):
    compose = {"background": "folder", "folder": str(rooms(tmp_path / "rooms")), **DISC}
    document = job(tmp_path, compose)
    run(document)
    file = tmp_path / "out" / BACKGROUNDS_PATH
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert [p.path for p in factory.verify_dataset(tmp_path / "out").problems] == [BACKGROUNDS_PATH]
    with pytest.raises(DamageError, match=r"backgrounds\.tar: sha256"):
        run(document)
    for step in find_repairs(open_store(str(tmp_path / "out"))):
        step.do()
    assert not file.exists()
    run(document)
    assert file.read_bytes() == whole


def test_composites_of_masks_that_a_clean_up_changed_follow_the_mask(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    document = with_alpha(tmp_path, {"background": "other_sample"})
    document["dataset"]["segmenter"]["clean"] = {"smooth": 1}
    for sample in run(document):
        assert set(np.unique(sample.alpha)) <= {0, 255}
        assert np.array_equal(sample.alpha == 255, sample.mask == 1)
        assert sample.facts.cleaned_px >= 0
        assert sample.facts.background


WRONG = {
    "no class is called background": (
        {"background": "other_sample"},
        {},
        r"compose\.classes: left out, and none of the classes \(ground, square, disc, core\)",
    ),
    "a class that is not there": (
        {"background": "other_sample", "classes": ["cat"]},
        {},
        r"compose\.classes: found class cat; the segmenter has classes 0 to 3",
    ),
    "nothing is left of the ground": (
        {"background": "other_sample", "classes": [0, 1, 2, 3]},
        {},
        r"compose\.classes: all classes .* leave out those of the ground",
    ),
    "one sample to a batch": (
        {"background": "other_sample", **DISC},
        {"dataset.batch_size": 1},
        "`batch_size` is 1; use 2 or more",
    ),
    "no folder": ({"background": "folder"}, {}, "needs `folder`"),
    "a folder beside": (
        {"background": "other_sample", "folder": "x"},
        {},
        "`folder` is about `background: folder`",
    ),
    "a folder that is not there": (
        {"background": "folder", "folder": "gone", **DISC},
        {},
        r"^dataset\.compose\.folder: nothing at gone",
    ),
    "layouts": (
        {"background": "other_sample", **DISC},
        {"dataset.sampling": {"kind": "layout", "layouts": "x"}},
        "`compose` covers them; leave one of them out",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_composed_is_told_in_one_line_and_claims_nothing(tmp_path, name):
    compose, overrides, words = WRONG[name]
    with pytest.raises(JobError, match=words) as caught:
        run(job(tmp_path, compose, overrides))
    assert len(str(caught.value).splitlines()) <= 2
    assert not list((tmp_path / "out").rglob("*.tar"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"no pictures in .*; allowed: \.png"),
        (b"no picture", r"a\.png is not a whole picture; replace it or take it out"),
        ("small", r"a\.png is 20 x 20 px; at least 32 are needed on each side; take it out"),
    ],
)
def test_an_empty_folder_and_pictures_that_cannot_be_used_are_told(tmp_path, content, words):
    folder = tmp_path / "rooms"
    folder.mkdir()
    if content == "small":
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "a.png")
    elif content is not None:
        (folder / "a.png").write_bytes(content)
    with pytest.raises(JobError, match=words) as caught:
        run(job(tmp_path, {"background": "folder", "folder": str(folder), **DISC}))
    assert str(caught.value).startswith("dataset.compose.folder: ")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf_8_is_told_with_question_marks(tmp_path):
    folder = rooms(tmp_path / "rooms", count=1)
    (folder / "room0.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))
    found = run(job(tmp_path, {"background": "folder", "folder": str(folder), **DISC}))
    assert {sample.facts.background for sample in found} == {"??.png"}


def test_a_batch_of_two_that_lie_on_each_other_gives_one_pair_for_two_passes(tmp_path):
    overrides = {"dataset.batch_size": 2}
    plain = calibrate(check_job(small_document(tmp_path, PARTS | overrides), source="a"))
    compose = {"background": "other_sample", **DISC}
    chained = calibrate(check_job(job(tmp_path, compose, overrides), source="b"))
    assert chained["passes_per_pair"] == 2 * plain["passes_per_pair"] == 2


def test_a_composite_is_not_edited(tmp_path):
    document = job(tmp_path, {"background": "other_sample", **DISC})
    run(document)
    with pytest.raises(JobError, match="edit: this dataset has composites"):
        factory.edit_sample(
            tmp_path / "out", "000000000", np.zeros((32, 32), np.uint8), trust_plugins=True
        )
