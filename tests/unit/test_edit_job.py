"""Datasets of edited pairs: from the job to its samples and readers, and what is refused."""

import gc
import io
import json

import numpy as np
import pytest
import webdataset
from painted import linear_section, painted_folder
from PIL import Image
from small_job import small_document
from typer.testing import CliRunner

import factory
from factory.care.repair import find_repairs
from factory.cli.app import app
from factory.data import IGNORE
from factory.errors import DamageError, FactoryError, JobError, ShardError, StoreError
from factory.pack.image import encode_mask
from factory.store import open_store

pytestmark = pytest.mark.slow

HEAD = {"kind": "toy_head:make_toy_head"}
FAST = {"steps": 6, "learning_rate": 0.1}
GROW = {"change": "grow", "of": "square", "by_px": 1}


def edit_job(folder, overrides=None, **settings):
    rule = {} if "masks" in settings or "change" in settings else GROW
    edit = {**rule, **FAST, **settings}
    return small_document(
        folder,
        {"dataset.edit": edit, "dataset.segmenter": HEAD, "dataset.oversample": 2}
        | (overrides or {}),
    )


def run(job):
    factory.run_job(job, progress=False)
    return factory.open_dataset(job["output"]["uri"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same job without edits."""
    folder = tmp_path_factory.mktemp("plain")
    run(small_document(folder, {"dataset.segmenter": HEAD}))
    return folder / "out"


def mask_folder(folder, plain, keys=(2, 7, 4)):
    """Masks of some samples, with a larger square."""
    folder.mkdir()
    dataset = factory.open_dataset(plain)
    for key in keys:
        painted = grown(dataset[f"{key:09d}"].mask)
        (folder / f"{key:09d}.png").write_bytes(encode_mask(painted))
    return folder


def masks_job(folder, plain, overrides=None, **settings):
    masks = folder / "masks"
    if not masks.exists():
        mask_folder(masks, plain)
    return edit_job(
        folder,
        {"dataset.oversample": 1, "dataset.num_samples": 3} | (overrides or {}),
        masks=str(masks),
        dataset=str(plain),
        **settings,
    )


def grown(mask):
    region = mask == 1
    sides = [np.roll(region, step, axis=axis) for step in (1, -1) for axis in (0, 1)]
    around = np.logical_or.reduce(sides) & ~region
    return np.where(around, 1, IGNORE).astype(np.uint8)


def test_pairs_start_from_the_plain_samples_and_have_what_the_rule_says(tmp_path, plain):
    found = run(edit_job(tmp_path))
    before = factory.open_dataset(plain)
    gains = []
    for sample in found:
        facts = sample.facts
        assert facts.edited_from == sample.key
        if sample.key in before:  # as it was made, not as it was computed in another batch
            assert np.abs(before[sample.key].image.astype(int) - sample.image).max() <= 1
            assert np.array_equal(before[sample.key].mask, sample.mask)
        painted = grown(sample.mask)
        inside = painted != IGNORE
        assert facts.painted_px == inside.sum() > 0
        assert facts.painted_before == 0
        assert facts.painted_after == pytest.approx(
            (sample.edited_mask == 1)[inside].mean(), abs=1e-5
        )
        assert facts.painted_iou_after == facts.painted_after  # one class, and only where it is new
        change = np.abs(sample.edited.astype(int) - sample.image).mean(axis=2)
        assert facts.inside_change == pytest.approx(change[inside].mean(), abs=1e-5)
        assert facts.outside_change == pytest.approx(change[~inside].mean(), abs=1e-5)
        counts = np.bincount(sample.edited_mask.ravel(), minlength=4)
        assert facts.edited_class_px == counts.tolist()
        assert (facts.forwards, facts.steps) == (9, 6)
        gains.append(facts.painted_after)
    assert np.mean(gains) > 0.4
    assert set(found.facts(["painted_px"]).column_names) == {"painted_px"}


RULES = {
    "shift": {"change": "shift", "of": "disc", "by_px": 3},
    "shrink": {"change": "shrink", "of": 1, "by_px": 1, "to": "ground", "latents": "shared"},
    "relabel": {"change": "relabel", "of": "square", "to": "ground", "learning_rate": 0.3},
}


@pytest.mark.parametrize("name", RULES)
def test_pairs_are_made_again_byte_for_byte(tmp_path, name):
    job = edit_job(tmp_path, **RULES[name])
    found = run(job)
    # A few steps reach little; how little depends on the processor (0.06 to 0.3 on two of them).
    assert np.mean(found.facts()["painted_after"].to_numpy()) > 0.02
    again = factory.verify_dataset(
        job["output"]["uri"], deep=True, regenerate=13, trust_plugins=True
    )
    assert (again.problems, again.num_regenerated) == ((), 13)


def test_a_resumed_run_gives_the_same_bytes(tmp_path, plain):
    run(masks_job(tmp_path, plain, {"dataset.samples_per_shard": 2}))
    receipt = next(p for p in (tmp_path / "out" / "receipts").rglob("*.json") if p.stem == "000001")
    tar = tmp_path / "out" / "data" / "train" / "tiny-000001.tar"
    before = tar.read_bytes()
    for file in [receipt, tar, *(tmp_path / "out" / "snapshots").rglob("*.*")]:
        file.unlink()
    run(masks_job(tmp_path, plain, {"dataset.samples_per_shard": 2}))
    assert tar.read_bytes() == before


def test_masks_edit_the_samples_that_they_are_named_after(tmp_path, plain):
    found = run(masks_job(tmp_path, plain))
    before = factory.open_dataset(plain)
    assert [sample.key for sample in found] == ["000000000", "000000001", "000000002"]
    assert [sample.facts.edited_from for sample in found] == [f"{key:09d}" for key in (2, 4, 7)]
    for sample in found:
        source = before[sample.facts.edited_from]
        assert np.abs(source.image.astype(int) - sample.image).max() <= 1
        assert np.array_equal(source.mask, sample.mask)
        assert not np.array_equal(sample.edited_mask, sample.mask)
        inside = grown(source.mask) != IGNORE
        assert sample.facts.painted_px == inside.sum()
        after = (sample.edited_mask == 1)[inside].mean()
        assert sample.facts.painted_after == pytest.approx(after, abs=1e-5)


def test_a_dataset_goes_on_and_is_made_again_without_the_folder_of_its_masks(tmp_path, plain):
    job = masks_job(tmp_path, plain)
    job["dataset"]["num_samples"] = 2
    run(job)
    (tmp_path / "masks").rename(tmp_path / "moved")
    factory.run_job(job, progress=False, add=1)
    assert len(factory.open_dataset(job["output"]["uri"])) == 3
    again = factory.verify_dataset(job["output"]["uri"], regenerate=3, trust_plugins=True)
    assert (again.problems, again.num_regenerated) == ((), 3)
    job["dataset"]["num_samples"] = 4
    with pytest.raises(
        JobError, match=r"num_samples: found 4, but dataset\.edit\.masks has 3; up to 3"
    ):
        run(job)
    for add, key in ((1, None), (2, "tonight")):  # no sample is edited twice to fill a step
        with pytest.raises(JobError, match=rf"found {3 + add}, but dataset\.edit\.masks has 3"):
            factory.run_job(job, progress=False, add=add, once=key)
    assert len(list((tmp_path / "out" / "plan").iterdir())) == 2
    job["dataset"]["num_samples"] = 3
    job["dataset"]["edit"]["masks"] = str(mask_folder(tmp_path / "others", plain, keys=(1, 3, 5)))
    with pytest.raises(StoreError, match=r"edit\.layouts_sha256: "):
        run(job)


def test_damaged_masks_are_found_removed_and_written_again(tmp_path, plain):
    job = masks_job(tmp_path, plain)
    run(job)
    file = tmp_path / "out" / "layouts.tar"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(DamageError, match=r"layouts\.tar: sha256 .*`factory repair "):
        run(job)
    (step,) = find_repairs(open_store(job["output"]["uri"]))
    step.do()
    run(job)
    assert file.read_bytes() == whole
    assert not factory.verify_dataset(job["output"]["uri"]).problems


def read_first(tar):
    """The first sample, as webdataset reads it; it leaves its file to the garbage collector."""
    members, *_ = webdataset.WebDataset(str(tar), shardshuffle=False)
    gc.collect()
    return members


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_reader_gives_both_images_and_both_masks(tmp_path):
    job = edit_job(tmp_path)
    found = run(job)
    tensors = {pair["key"]: pair for pair in found.to_torch()}
    streamed = list(factory.stream(job, num_samples=4, progress=False))
    for pair in streamed:
        for name in ("image", "mask", "edited", "edited_mask"):
            assert np.array_equal(pair[name], tensors[pair["key"]][name]), name
    sample = found[0]
    assert np.array_equal(tensors[sample.key]["edited"].numpy(), sample.edited.transpose(2, 0, 1))
    assert np.array_equal(tensors[sample.key]["edited_mask"].numpy(), sample.edited_mask)
    (tar,) = (tmp_path / "out").rglob("tiny-000000.tar")
    members = read_first(tar)
    assert [name for name in members if not name.startswith("__")] == [
        *("image.png", "mask.png", "edited.png", "edited_mask.png", "json")
    ]
    with Image.open(io.BytesIO(members["edited_mask.png"])) as mask:
        assert (mask.mode, mask.size) == ("L", (32, 32))
    assert json.loads(members["json"])["edited_from"] == "000000000"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_edited_image_has_the_encoding_of_the_other(tmp_path):
    job = edit_job(tmp_path, {"dataset.encode": {"image": "webp"}, "dataset.num_samples": 3})
    found = run(job)
    (tar,) = (tmp_path / "out").rglob("tiny-000000.tar")
    members = read_first(tar)
    assert {"image.webp", "edited.webp", "edited_mask.png"} <= set(members)
    assert found[0].edited.shape == (32, 32, 3)


def test_samples_without_the_class_are_rejected_and_counted(tmp_path):
    segmenter = {"kind": "plugins.sometimes:make_sometimes_head"}
    job = edit_job(tmp_path, {"dataset.segmenter": segmenter})
    found = run(job)
    rejected = sum(
        record.num_rejected.get("nothing_to_edit", 0) for record in found.manifest.records
    )
    assert rejected > 0
    assert all(sample.facts.painted_px for sample in found)


def test_a_rule_that_changes_nothing_anywhere_ends_with_its_reason(tmp_path):
    job = edit_job(tmp_path, change="relabel", of="core", to="disc")
    job["dataset"]["segmenter"] = {"kind": "plugins.sometimes:make_never_head"}
    with pytest.raises((ShardError, FactoryError), match="nothing_to_edit"):
        run(job)


def test_an_orphaned_shard_of_pairs_is_adopted(tmp_path, plain):
    job = masks_job(tmp_path, plain, {"dataset.samples_per_shard": 2})
    cells = [row["latent_cell"] for row in run(job).facts().to_pylist()]
    (receipt,) = [p for p in (tmp_path / "out" / "receipts").rglob("*.json") if p.stem == "000000"]
    table = next((tmp_path / "out" / "meta").rglob("*000000.parquet"))
    for file in [receipt, table, *(tmp_path / "out" / "snapshots").rglob("*.*")]:
        file.unlink()
    assert [row["latent_cell"] for row in run(job).facts().to_pylist()] == cells
    assert receipt.exists()


def test_a_deep_check_finds_an_edited_mask_that_is_another(tmp_path):
    job = edit_job(tmp_path)
    run(job)
    tar = tmp_path / "out" / "data" / "train" / "tiny-000000.tar"
    data = bytearray(tar.read_bytes())
    place = data.index(b"000000000.edited_mask.png")
    data[place + 512 + 60] ^= 1
    tar.write_bytes(data)
    assert factory.verify_dataset(job["output"]["uri"], deep=True).problems


def spoil_name(folder):
    (folder / "000000002.png").rename(folder / "cell.png")


def spoil_key(folder):
    (folder / "000000002.png").rename(folder / "000000900.png")


def spoil_twice(folder):
    (folder / "2.png").write_bytes((folder / "000000002.png").read_bytes())


def spoil_size(folder):
    (folder / "000000002.png").write_bytes(encode_mask(np.zeros((32, 16), np.uint8)))


def spoil_class(folder):
    (folder / "000000002.png").write_bytes(encode_mask(np.full((32, 32), 7, np.uint8)))


def spoil_paint(folder):
    (folder / "000000002.png").write_bytes(encode_mask(np.full((32, 32), IGNORE, np.uint8)))


def spoil_half(folder):
    (folder / "000000002.png").write_bytes((folder / "000000002.png").read_bytes()[:50])


def remove(folder):
    folder.rename(folder.with_name("gone"))


def empty(folder):
    for file in folder.iterdir():
        file.unlink()


SPOILT = {
    spoil_name: "dataset.edit.masks: 'cell' names no sample; name each mask by the key of its sample",
    spoil_key: "dataset.edit.masks: 000000900 is of no sample of ",
    spoil_twice: "dataset.edit.masks: 2 and 000000002 are both of sample 000000002; keep one of them",
    spoil_size: "000000002.png: is 16 x 32 px; its picture is 32 x 32",
    spoil_class: "000000002.png: holds grey values 7 (1024 px) of no class; values are 0 to 3",
    spoil_paint: "000000002.png: has no painted pixel",
    spoil_half: "000000002.png: not a whole image",
    remove: "masks: does not exist; give a folder of masks",
    empty: "masks: has no mask; put some in",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_masks_that_cannot_be_used_are_told_in_one_line_before_anything_is_written(
    tmp_path, plain, spoil
):
    job = masks_job(tmp_path, plain)
    spoil(tmp_path / "masks")
    with pytest.raises(JobError) as caught:
        run(job)
    assert SPOILT[spoil] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "plan").exists()


def test_a_mask_that_changes_nothing_is_refused(tmp_path, plain):
    job = masks_job(tmp_path, plain)
    same = factory.open_dataset(plain)["000000004"].mask
    (tmp_path / "masks" / "000000004.png").write_bytes(encode_mask(same))
    with pytest.raises(JobError, match=r"mask of 000000004 is as the sample's own; paint a change"):
        run(job)


OTHERS = {
    "dataset.latents.seed": (5, r"another latents\.seed \(0, here 5\)"),
    "dataset.generator.noise": ("none", r"another generator\.noise \('const', here 'none'\)"),
    "dataset.segmenter": (
        {"kind": "plugins.sometimes:make_sometimes_head"},
        r"another segmenter\.kind",
    ),
}


@pytest.mark.parametrize("setting", OTHERS)
def test_masks_of_a_dataset_that_was_made_otherwise_are_refused(tmp_path, plain, setting):
    value, said = OTHERS[setting]
    with pytest.raises(JobError, match=said) as caught:
        run(masks_job(tmp_path, plain, {setting: value}))
    assert "\n" not in str(caught.value)


def test_samples_whose_latents_were_searched_or_moved_are_not_edited_by_a_job(tmp_path, plain):
    run(edit_job(tmp_path))
    (tmp_path / "out").rename(tmp_path / "source")
    job = masks_job(tmp_path, plain)
    job["dataset"]["edit"]["dataset"] = str(tmp_path / "source")
    with pytest.raises(JobError, match="has `edit`, whose latents cannot be drawn again"):
        run(job)


def test_plan_tells_what_edits_cost_and_refuses_what_run_would(tmp_path):
    linear = linear_section(painted_folder(tmp_path / "painted"))
    job = edit_job(tmp_path, {"dataset.segmenter": linear})
    estimate = factory.estimate_job(job)
    assert estimate.passes_per_pair == 9
    assert estimate.search_bytes > 0
    plain = factory.estimate_job(small_document(tmp_path, {"dataset.segmenter": linear}))
    assert estimate.bytes_in_all > 1.5 * plain.bytes_in_all
    assert estimate.seconds_per_pair > plain.seconds_per_pair
    job["dataset"]["edit"] |= {"change": "relabel", "of": "square", "to": "square2"}
    del job["dataset"]["edit"]["by_px"]
    (tmp_path / "job.json").write_text(json.dumps(job))
    said = CliRunner().invoke(app, ["run", str(tmp_path / "job.json")])
    assert said.exit_code == 2
    assert "dataset.edit.to: found class square2; the segmenter has classes 0 to 3" in said.output
    assert "fit_started" not in said.output


def test_methods_without_gradients_are_refused_before_a_fit(tmp_path):
    parts = {"kind": "plugins.mixing_plugins:Parts"}
    with pytest.raises(JobError, match=r"dataset\.edit: this segmenter has no scores of classes"):
        run(edit_job(tmp_path, {"dataset.segmenter": parts}))


MASKS = {"masks": "m", "dataset": "d"}
REFUSED = {
    "neither": ({}, "needs `change`, a rule, or `masks`, a folder of masks, and not both"),
    "both": ({"change": "grow", "of": 1, **MASKS}, "needs `change`, a rule, or `masks`"),
    "alone": ({"masks": "m"}, "`masks` and `dataset` belong together"),
    "beside": ({"of": 1, **MASKS}, "`of` is about `change`; leave it out beside `masks`"),
    "of": ({"change": "grow"}, "`change: grow` needs `of`"),
    "to": ({"change": "relabel", "of": 1}, "`change: relabel` needs `to`"),
    "grow": ({"change": "grow", "of": 1, "to": 2}, "`change: grow` loses nothing"),
    "by_px": (
        {"change": "relabel", "of": 1, "to": 2, "by_px": 3},
        "`by_px` is about other changes",
    ),
    "same": ({"change": "shift", "of": 1, "to": 1}, "`to` and `of` are both 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_contradict_each_other_are_refused(tmp_path, name):
    settings, said = REFUSED[name]
    job = small_document(tmp_path, {"dataset.edit": settings})
    with pytest.raises(JobError, match=said):
        factory.JobSpec.from_dict(job)


BESIDE = {
    "dataset.sampling": ({"kind": "layout", "layouts": "x"}, "leave one of them out"),
    "dataset.oversample": (2, "each of `edit.masks` gives one pair; use 1"),
    "dataset.coverage": ({"min_samples": {"1": 3}, "budget": 9}, "asks for more samples than"),
    "dataset.segmenter": (
        {"kind": "style_mixing", "instances": {"min_px": 3}},
        "`segmenter.instances` separates objects",
    ),
}


@pytest.mark.parametrize("setting", BESIDE)
def test_what_does_not_go_with_edits_is_refused(tmp_path, setting):
    value, said = BESIDE[setting]
    job = small_document(tmp_path, {"dataset.edit": MASKS, setting: value})
    with pytest.raises(JobError, match=said):
        factory.JobSpec.from_dict(job)
