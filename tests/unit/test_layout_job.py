"""Datasets whose masks have wanted layouts: from the job to its samples, and what is refused."""

import json

import numpy as np
import pytest
from painted import exact_masks, linear_section, painted_folder
from small_job import small_document, small_job
from typer.testing import CliRunner

import factory
from factory.care.repair import find_repairs
from factory.cli.app import app
from factory.data import IGNORE
from factory.errors import DamageError, FactoryError, JobError, StoreError
from factory.pack.image import encode_mask
from factory.store import open_store

pytestmark = pytest.mark.slow

HEAD = {"kind": "toy_head:make_toy_head"}
FAST = {"candidates": 3, "steps": 4, "learning_rate": 0.1}


def wanted_folder(folder, count=4, seed=9):
    """A folder of layouts that the toy can make."""
    folder.mkdir()
    masks = exact_masks(small_job(folder).dataset, range(count), seed)
    for place, mask in enumerate(masks):
        (folder / f"want{place}.png").write_bytes(encode_mask(mask))
    return folder


def layout_job(folder, segmenter=HEAD, overrides=None, **settings):
    wanted = folder / "wanted"
    if not wanted.exists():
        wanted_folder(wanted)
    sampling = {"kind": "layout", "layouts": str(wanted), **FAST, **settings}
    return small_document(
        folder,
        {"dataset.sampling": sampling, "dataset.segmenter": segmenter} | (overrides or {}),
    )


def run(job):
    factory.run_job(job, progress=False)
    return factory.open_dataset(job["output"]["uri"])


def test_samples_have_their_layouts_and_say_what_they_cost(tmp_path):
    found = run(layout_job(tmp_path))
    rows = found.facts().to_pylist()
    assert [row["layout"] for row in rows[:6]] == [
        "want0",
        "want1",
        "want2",
        "want3",
        "want0",
        "want1",
    ]
    assert {(row["forwards"], row["steps"], row["cleaned_px"]) for row in rows} == {(9, 4, -1)}
    assert np.mean([row["layout_iou"] - row["start_iou"] for row in rows]) > 0.03
    assert {row["latent_cell"] for row in rows} == {-1}
    wanted = exact_masks(small_job(tmp_path).dataset, range(4), 9)
    for sample, row in zip(found, rows, strict=True):
        layout = wanted[sample.facts.index % 4]
        ids = np.unique(layout)
        ious = [
            ((sample.mask == k) & (layout == k)).sum() / ((sample.mask == k) | (layout == k)).sum()
            for k in ids
        ]
        assert row["layout_iou"] == pytest.approx(np.mean(ious), abs=1e-5)
        assert sample.facts.layout_iou == row["layout_iou"]


@pytest.mark.parametrize("method", ["optimise", "ranked"])
def test_samples_are_made_again_byte_for_byte(tmp_path, method):
    settings = {"method": method}
    job = layout_job(tmp_path, **settings)
    if method == "ranked":
        job["dataset"]["sampling"] = {
            k: v
            for k, v in job["dataset"]["sampling"].items()
            if k not in ("steps", "learning_rate")
        }
    run(job)
    trusted = factory.verify_dataset(
        job["output"]["uri"], deep=True, regenerate=6, trust_plugins=True
    )
    assert (trusted.problems, trusted.num_regenerated) == ((), 6)


def test_a_dataset_goes_on_and_is_made_again_without_the_folder_of_its_layouts(tmp_path):
    job = layout_job(tmp_path)
    run(job)
    (tmp_path / "wanted").rename(tmp_path / "moved")
    job["dataset"]["num_samples"] = 17
    assert len(run(job)) == 17
    assert not factory.verify_dataset(
        job["output"]["uri"], regenerate=9, trust_plugins=True
    ).problems
    job["dataset"]["sampling"]["layouts"] = str(tmp_path / "moved")
    assert len(run(job)) == 17


def test_other_layouts_are_another_dataset(tmp_path):
    job = layout_job(tmp_path)
    run(job)
    wanted_folder(tmp_path / "others", seed=10)
    job["dataset"]["sampling"]["layouts"] = str(tmp_path / "others")
    with pytest.raises(StoreError, match=r"sampling\.layouts_sha256: "):
        run(job)


def test_damaged_layouts_are_found_removed_and_written_again(tmp_path):
    job = layout_job(tmp_path)
    run(job)
    uri = job["output"]["uri"]
    file = tmp_path / "out" / "layouts.tar"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    assert [problem.path for problem in factory.verify_dataset(uri).problems] == ["layouts.tar"]
    with pytest.raises(DamageError, match=r"layouts\.tar: sha256 .*`factory repair "):
        run(job)
    (step,) = find_repairs(open_store(uri))
    step.do()
    assert [problem.kind for problem in factory.verify_dataset(uri).problems] == ["missing"]
    (step,) = find_repairs(open_store(uri))
    assert step.do is None
    run(job)
    assert file.read_bytes() == whole
    assert not factory.verify_dataset(uri).problems


def test_layouts_are_drawn_from_another_dataset_by_the_names_of_classes(tmp_path):
    plain = small_document(tmp_path, {"dataset.segmenter": HEAD})
    run(plain)
    job = layout_job(tmp_path)
    job["dataset"]["sampling"] = {
        "kind": "layout",
        "dataset": plain["output"]["uri"],
        "num_layouts": 5,
        **FAST,
    }
    job["output"]["uri"] = str(tmp_path / "drawn")
    names = run(job).facts(["layout"])["layout"].to_pylist()
    drawn = sorted(set(names))
    assert len(drawn) == 5
    assert set(drawn) < {f"{index:09d}" for index in range(15)}
    job["dataset"]["sampling"]["seed"] = 1
    job["output"]["uri"] = str(tmp_path / "others")
    assert set(run(job).facts(["layout"])["layout"].to_pylist()) != set(drawn)


def test_a_dataset_with_other_classes_lends_no_layouts(tmp_path):
    clusters = small_document(tmp_path)
    run(clusters)
    job = layout_job(tmp_path)
    job["dataset"]["sampling"] = {"kind": "layout", "dataset": clusters["output"]["uri"], **FAST}
    job["output"]["uri"] = str(tmp_path / "drawn")
    with pytest.raises(JobError, match=r"have class 'cluster_00'; classes here are ground, square"):
        run(job)
    assert not (tmp_path / "drawn" / "plan").exists()


def spoil_size(folder):
    (folder / "want1.png").write_bytes(encode_mask(np.zeros((32, 16), np.uint8)))


def spoil_class(folder):
    (folder / "want1.png").write_bytes(encode_mask(np.full((32, 32), 7, np.uint8)))


def spoil_paint(folder):
    (folder / "want1.png").write_bytes(encode_mask(np.full((32, 32), IGNORE, np.uint8)))


def spoil_file(folder):
    (folder / "want1.png").write_bytes((folder / "want1.png").read_bytes()[:60])


def half_saved(folder):
    (folder / "want1.png.part").write_bytes(b"")


def twice(folder):
    (folder / "again").mkdir()
    (folder / "again" / "want1.png").write_bytes((folder / "want1.png").read_bytes())


def remove(folder):
    folder.rename(folder.with_name("gone"))


def empty(folder):
    for file in folder.iterdir():
        file.unlink()


SPOILT = {
    spoil_size: "want1.png: is 16 x 32 px; its picture is 32 x 32",
    spoil_class: "want1.png: holds grey values 7 (1024 px) of no class; values are 0 to 3",
    spoil_paint: "want1.png: has no painted pixel",
    spoil_file: "want1.png: not a whole image",
    half_saved: "want1.png.part: is a file that was not saved completely",
    twice: "has a mask 'want1', as again/want1.png has; keep one of them",
    remove: "wanted: does not exist; give a folder of masks",
    empty: "wanted: has no mask; put some in",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_layouts_that_cannot_be_used_are_told_in_one_line_before_anything_is_written(
    tmp_path, spoil
):
    job = layout_job(tmp_path)
    spoil(tmp_path / "wanted")
    with pytest.raises(JobError) as caught:
        run(job)
    assert SPOILT[spoil] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "plan").exists()


@pytest.mark.parametrize("spoil", [spoil_size, remove], ids=lambda spoil: spoil.__name__)
def test_plan_refuses_what_run_would_with_its_exit_code(tmp_path, spoil):
    linear = linear_section(painted_folder(tmp_path / "painted"))
    job = layout_job(tmp_path, linear)
    (tmp_path / "job.json").write_text(json.dumps(job))
    spoil(tmp_path / "wanted")
    said = [CliRunner().invoke(app, [word, str(tmp_path / "job.json")]) for word in ("plan", "run")]
    assert [one.exit_code for one in said] == [2, 2]
    assert SPOILT[spoil].partition(": ")[2][:40] in said[0].output
    assert SPOILT[spoil].partition(": ")[2][:40] in said[1].output


def test_plan_tells_what_the_search_costs_and_which_classes_no_layout_has(tmp_path):
    linear = linear_section(painted_folder(tmp_path / "painted"))
    job = layout_job(tmp_path, linear)
    for file in (tmp_path / "wanted").iterdir():
        file.write_bytes(encode_mask(np.zeros((32, 32), np.uint8)))
    estimate = factory.estimate_job(job)
    assert estimate.passes_per_pair == 9
    assert estimate.search_bytes > 0
    missing = "no layout has square, disc, core; samples will hardly show it"
    assert any(missing in warning for warning in estimate.warnings)
    assert factory.estimate_job(small_document(tmp_path)).search_bytes == 0


def test_methods_without_gradients_are_refused_before_a_fit_and_ranked_instead(tmp_path):
    parts = {"kind": "plugins.mixing_plugins:Parts"}
    with pytest.raises(
        JobError, match=r"no `class_scores`.*`sampling.method: ranked` works with all"
    ):
        run(layout_job(tmp_path, parts))
    job = layout_job(tmp_path, parts)
    job["dataset"]["sampling"] = {
        "kind": "layout",
        "layouts": str(tmp_path / "wanted"),
        "method": "ranked",
        "candidates": 6,
    }
    rows = run(job).facts().to_pylist()
    assert {(row["forwards"], row["steps"]) for row in rows} == {(7, 0)}
    assert all(row["layout_iou"] == row["start_iou"] for row in rows)


REFUSED = {
    "both": ({"dataset": "out"}, "needs `layouts`, a folder of masks, or `dataset`, and not both"),
    "drawn": ({"num_layouts": 3}, "`num_layouts` is about `dataset`"),
    "ranked": ({"method": "ranked"}, "`steps` is about `optimise`; leave it out with `ranked`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_contradict_each_other_are_refused(tmp_path, name):
    settings, said = REFUSED[name]
    with pytest.raises(JobError, match=said):
        factory.JobSpec.from_dict(layout_job(tmp_path, **settings))


def test_a_search_needs_more_latents_than_a_seed_of_nvidia_gives_and_classes_of_pixels(tmp_path):
    job = layout_job(tmp_path, overrides={"dataset.latents.draw": "nvidia_seed"})
    with pytest.raises(JobError, match="gives each sample one latent, and `sampling` needs many"):
        factory.JobSpec.from_dict(job)
    objects = {"kind": "style_mixing", "instances": {"min_px": 3}}
    with pytest.raises(JobError, match=r"`segmenter.instances` separates objects"):
        factory.JobSpec.from_dict(layout_job(tmp_path, objects))


def test_a_stream_gives_the_pairs_of_the_shards(tmp_path):
    job = layout_job(tmp_path)
    stored = [sample.mask for sample in run(job)][:5]
    streamed = [pair["mask"].numpy() for pair in factory.stream(job, num_samples=5, progress=False)]
    for one, other in zip(stored, streamed, strict=True):
        assert np.array_equal(one, other)


def test_an_orphaned_shard_of_a_search_is_adopted(tmp_path):
    job = layout_job(tmp_path)
    run(job)
    (receipt,) = [p for p in (tmp_path / "out" / "receipts").rglob("*.json") if p.stem == "000001"]
    tar = tmp_path / "out" / "data" / "train" / "tiny-000001.tar"
    before = tar.read_bytes()
    receipt.unlink()
    for file in (tmp_path / "out" / "snapshots").rglob("*"):
        file.unlink()
    try:
        run(job)
    except FactoryError as error:  # pragma: no cover - shown
        pytest.fail(str(error))
    assert tar.read_bytes() == before
    assert receipt.exists()
