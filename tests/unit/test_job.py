import io
import json
import shutil

import pytest
import torch
import yaml
from PIL import Image
from plugins.batches import Sick
from small_job import Witness, make_small, small_job

from factory.care.replay import regenerate_samples
from factory.care.verify import verify_dataset
from factory.dataset.quarantine import release
from factory.dataset.state import find_rounds, find_state, progress_of
from factory.dataset.status import make_status
from factory.dataset.views import make_manifest
from factory.errors import DamageError, IncompleteError, JobError, StoreError
from factory.job import finish_job, prepare_job, run_job
from factory.manifest.coverage import cover_samples, merge_coverage
from factory.manifest.table import read_manifest
from factory.pack.facts import SampleFacts, read_sidecar
from factory.pack.tar import read_members
from factory.spec.read import load_job
from factory.store import open_store


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    make_small(folder)
    return folder


@pytest.fixture
def made(finished, tmp_path):
    """A folder with a finished dataset of its own in `out`."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shard_stats(folder):
    paths = sorted((folder / "out").glob("data/train/*.tar"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def facts_of(folder):
    """The facts of every sample, shard by shard."""
    return [
        [
            SampleFacts.model_validate_json(data)
            for name, data in read_members(path)
            if name.endswith(".json")
        ]
        for path in sorted((folder / "out").glob("data/train/*.tar"))
    ]


def test_a_finished_dataset_holds_the_documented_files_and_no_other(finished):
    names = [f"tiny-{i:06d}" for i in range(3)]
    assert sorted(files_of(finished / "out")) == sorted(
        [
            "README.md",
            "index/train.wids.json",
            "job.yaml",
            "labels.json",
            "manifest.parquet",
            "plan/round-0000.json",
            "preview.png",
            "segmenter.safetensors",
            *(f"data/train/{name}.tar" for name in names),
            *(f"meta/train/{name}.parquet" for name in names),
            *(f"receipts/0000/{i:06d}.json" for i in range(3)),
        ]
    )
    assert not (finished / "out/tmp").exists()


def test_every_sample_is_an_image_a_mask_and_its_facts_in_order(finished):
    first = 0
    for path, count in zip(sorted((finished / "out/data/train").iterdir()), (5, 5, 3), strict=True):
        keys = [f"{index:09d}" for index in range(first, first + count)]
        first += count
        assert [name for name, _ in read_members(path)] == [
            f"{key}.{ending}" for key in keys for ending in ("image.png", "mask.png", "json")
        ]


def test_the_sidecar_tables_are_the_facts_in_the_tars(finished):
    for facts, path in zip(
        facts_of(finished), sorted((finished / "out/meta/train").iterdir()), strict=True
    ):
        assert [row for row, _ in read_sidecar(path.read_bytes())] == facts


def test_the_receipts_coverage_is_that_of_the_sidecar_tables_and_adds_up(finished):
    rows = [
        row for path in sorted((finished / "out/meta/train").iterdir())
        for row in read_sidecar(path.read_bytes())
    ]  # fmt: skip
    facts, measures = [row[0] for row in rows], [row[1] for row in rows]
    again = cover_samples(
        [row.class_label for row in facts],
        [row.class_px for row in facts],
        [row.width * row.height for row in facts],
        [row.confidence for row in facts],
        measures,
        rejected={},
        num_generator_classes=0,
    )
    records = find_state(open_store(str(finished / "out"))).records
    merged = merge_coverage([record.coverage for record in records])
    assert merged == again
    assert merged.num_kept == len(facts) == 13
    assert all(m.sharpness > 0 and 0 <= m.latent_cell < 256 for m in measures)


def test_receipts_count_what_is_in_the_tars(finished):
    store = open_store(str(finished / "out"))
    for record, facts in zip(find_state(store).records, facts_of(finished), strict=True):
        assert record.num_samples == len(facts)
        assert record.num_members == 3 * len(facts)
        counts = torch.tensor([fact.class_px for fact in facts])
        assert record.class_px == counts.sum(dim=0).tolist()
        assert record.class_images == (counts > 0).sum(dim=0).tolist()
        assert record.confidence[0] == min(fact.confidence for fact in facts)
        assert record.confidence[-1] == max(fact.confidence for fact in facts)
        assert record.num_rejected == {}


def test_the_manifest_is_the_plan_and_the_receipts(finished):
    store = open_store(str(finished / "out"))
    manifest = read_manifest(store.read("manifest.parquet"), source="x")
    assert manifest == make_manifest(store)
    assert manifest.num_samples == manifest.num_planned == 13


def test_the_stored_job_makes_the_same_dataset(finished, tmp_path):
    stored = load_job(finished / "out/job.yaml")
    assert stored == small_job(finished, {"beside": str(finished / "out"), "output.uri": "out"})
    document = yaml.safe_load((finished / "out/job.yaml").read_text())
    document["output"]["uri"] = str(tmp_path / "again")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    run_job(load_job(tmp_path / "job.yaml"), Witness())
    tars = [path.read_bytes() for path in sorted((finished / "out/data/train").iterdir())]
    again = [path.read_bytes() for path in sorted((tmp_path / "again/data/train").iterdir())]
    assert tars == again


def test_nothing_in_run_changes_a_byte(finished, tmp_path):
    run = {"executor": "inline", "threads_per_actor": 3, "encode_threads": 5}
    make_small(tmp_path, {"run": run})
    tars = [path.read_bytes() for path in sorted((finished / "out/data/train").iterdir())]
    assert tars == [path.read_bytes() for path in sorted((tmp_path / "out/data/train").iterdir())]


def test_a_finished_dataset_verifies_and_comes_out_the_same_again(finished):
    store = open_store(str(finished / "out"))
    findings = verify_dataset(store, deep=True)
    assert (findings.num_shards, findings.num_samples, findings.problems) == (3, 13, ())
    assert regenerate_samples(store, 7) == (7, [])


def test_the_observer_is_told_of_the_fit_the_start_and_every_shard(tmp_path):
    witness = Witness()
    run_job(small_job(tmp_path, {"dataset.segmenter.fit.seed": 99}), witness)
    assert witness.fitted[0] == ("sampling", 0, 8)
    assert witness.fitted[-1] == ("clusters", 500, 500)
    assert witness.starts == [(13, 0)]
    assert sorted(record.shard_index for record in witness.records) == [0, 1, 2]
    assert witness.failures == []


def test_running_again_makes_nothing_new(made):
    before, views = shard_stats(made), files_of(made / "out")
    witness = Witness()
    run_job(small_job(made), witness)
    assert shard_stats(made) == before
    assert witness.records == []
    assert witness.starts == [(13, 13)]
    assert files_of(made / "out") == views


def test_growing_adds_shards_and_leaves_every_old_byte(made):
    before, stats = files_of(made / "out"), shard_stats(made)
    manifest = make_small(made, {"dataset.num_samples": 19})
    after = files_of(made / "out")
    views = {"README.md", "index/train.wids.json", "manifest.parquet", "preview.png"}
    assert {name for name in before if after[name] != before[name]} <= views
    assert {name: shard_stats(made)[name] for name in stats} == stats
    assert [record.num_samples for record in manifest.records] == [5, 5, 3, 5, 1]
    assert [record.first_index for record in manifest.records] == [0, 5, 10, 13, 18]
    assert verify_dataset(open_store(str(made / "out")), deep=True).problems == ()
    assert regenerate_samples(open_store(str(made / "out")), 5) == (5, [])


def test_what_cannot_be_planned_is_refused_before_the_fit(made, monkeypatch):
    (made / "out/segmenter.safetensors").unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(made / "cache"))  # nothing fitted lies in this one
    witness = Witness()
    with pytest.raises(JobError, match=r"found 12, but 13 are already planned"):
        run_job(small_job(made, {"dataset.num_samples": 12}), witness)
    assert witness.fitted == []


def test_shrinking_is_refused_and_changes_nothing(made):
    before = files_of(made / "out")
    with pytest.raises(JobError, match=r"found 12, but 13 are already planned"):
        make_small(made, {"dataset.num_samples": 12})
    assert files_of(made / "out") == before


def test_a_dataset_that_was_stopped_midway_is_finished_with_the_same_bytes(made):
    whole = files_of(made / "out")
    for name in ("receipts/0000/000001.json", "receipts/0000/000002.json"):
        (made / "out" / name).unlink()
    (made / "out/data/train/tiny-000002.tar").unlink()
    for name in ("README.md", "manifest.parquet", "index/train.wids.json"):
        (made / "out" / name).unlink()
    witness = Witness()
    run_job(small_job(made), witness)
    assert sorted(record.shard_index for record in witness.records) == [1, 2]
    again = files_of(made / "out")
    assert {n: d for n, d in again.items() if n.startswith(("data", "meta"))} == {
        n: d for n, d in whole.items() if n.startswith(("data", "meta"))
    }


def test_another_tar_in_a_shard_s_place_is_not_taken_for_it(made):
    (made / "out/receipts/0000/000001.json").unlink()
    tar = made / "out/data/train/tiny-000001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(IncompleteError) as caught:
        make_small(made)
    text = str(caught.value)
    assert text.startswith(
        f"{made}/out: 1 of 3 shards are in quarantine, the first is tiny-000001 ({tar}: "
        "there without a receipt, and damaged (sample 000000005: not a whole image ("
    )
    assert text.endswith(
        "`factory repair` removes it, then run the job again); the rest is committed: mend the cause, "
        f"then `factory quarantine retry {made}/out` and run the job again"
    )
    assert tar.read_bytes() == data, "it must not be replaced"


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            {"dataset.latents": {"seed": 1}, "dataset.batch_size": 2},
            ["batch_size: 3 there, 2 in the job", "latents.seed: 0 there, 1 in the job"],
        ),
        ({"name": "other"}, ["name: 'tiny' there, 'other' in the job"]),
        (
            {"dataset.segmenter.num_clusters": 3},
            ["segmenter.num_clusters: 4 there, 3 in the job"],
        ),
    ],
)
def test_another_dataset_in_the_same_folder_is_refused_with_what_differs(made, overrides, lines):
    before = files_of(made / "out")
    with pytest.raises(StoreError) as caught:
        make_small(made, overrides)
    head, *rest = str(caught.value).splitlines()
    assert head.startswith(f"{made}/out: holds another dataset (")
    assert head.endswith("); choose another output.uri, or make the job equal. What differs:")
    assert rest == [f"  {line}" for line in lines]
    assert files_of(made / "out") == before


def test_the_refusal_names_the_dataset_that_is_there(made):
    id_there = find_rounds(open_store(str(made / "out")))[0].dataset_id
    with pytest.raises(StoreError, match=f"holds another dataset \\({id_there}\\)"):
        make_small(made, {"name": "other"})


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError) as caught:
        make_small(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/out: contains 'thesis.tex' but no dataset; choose an empty or new folder "
        "as output.uri"
    )
    assert files_of(tmp_path / "out") == {"thesis.tex": b"years of work"}


def test_a_receipt_of_another_dataset_is_refused(made):
    path = made / "out/receipts/0000/000001.json"
    document = json.loads(path.read_text()) | {"dataset_id": "f" * 16}
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=f"belongs to dataset {'f' * 16}, this is [0-9a-f]+; "):
        make_small(made)


def test_an_unknown_segmenter_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        JobError, match=r"no segmenter has that name; known: .*did you mean 'kmeans'"
    ):
        make_small(tmp_path, {"dataset.segmenter": {"kind": "kmean"}})
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_does_not_exist_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(JobError, match="found 's64'; allowed: auto, or some of s8, s16, s32"):
        make_small(tmp_path, {"dataset.segmenter.layers": ["s64"]})
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_which_nothing_is_accepted_is_told_and_the_rest_is_kept(tmp_path):
    witness = Witness()
    spec = small_job(tmp_path, {"dataset.accept": {"class_share": {0: [0, 0.001]}}})
    with pytest.raises(IncompleteError) as caught:
        run_job(spec, witness)
    assert str(caught.value).startswith(
        f"{tmp_path}/out: 3 of 3 shards are in quarantine, the first is tiny-00000"
    )
    _, reason, again = next(failure for failure in witness.failures if "000002" in failure[0])
    assert reason == (
        "shard tiny-000002: none of 3 samples was accepted (class_0_too_large: 3); "
        "loosen these rules of dataset.accept or the segmenter, or raise dataset.oversample"
    )
    assert not again
    assert len(witness.failures) == 3
    assert not (tmp_path / "out/tmp").exists()
    assert verify_dataset(open_store(str(tmp_path / "out")), deep=True).num_shards == 0
    assert (tmp_path / "out/README.md").exists()


@pytest.mark.parametrize(("image", "ending"), [("webp", "webp"), ("jpeg", "jpg")])
def test_other_image_formats_verify_too(tmp_path, image, ending):
    make_small(tmp_path, {"dataset.encode": {"image": image}, "dataset.num_samples": 3})
    members = dict(read_members(tmp_path / "out/data/train/tiny-000000.tar"))
    data = members[f"000000000.image.{ending}"]
    assert Image.open(io.BytesIO(data)).format == image.upper()
    store = open_store(str(tmp_path / "out"))
    assert verify_dataset(store, deep=True).problems == ()
    assert regenerate_samples(store, 2) == (2, [])


def test_views_that_were_lost_are_written_again(made):
    before = files_of(made / "out")
    for name in ("README.md", "manifest.parquet", "index/train.wids.json", "preview.png"):
        (made / "out" / name).unlink()
    finish_job(open_store(str(made / "out")))
    after = files_of(made / "out")
    assert {n: d for n, d in after.items() if n != "preview.png"} == {
        n: d for n, d in before.items() if n != "preview.png"
    }


def test_a_lost_label_table_is_written_again_as_its_message_says(made):
    before = (made / "out/labels.json").read_bytes()
    (made / "out/labels.json").unlink()
    make_small(made)
    assert (made / "out/labels.json").read_bytes() == before


@pytest.mark.parametrize("share", [{9: [0, 1]}, {0: [0.9, 0.1]}])
def test_accept_rules_that_cannot_be_met_are_refused_at_once(tmp_path, share):
    with pytest.raises(JobError, match=r"dataset\.accept\.class_share"):
        make_small(tmp_path, {"dataset.accept": {"class_share": share}})


def test_a_live_page_without_ray_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(JobError) as caught:
        make_small(tmp_path, {"run.serve_port": 0})
    assert str(caught.value) == (
        "run.serve_port: found with executor: inline; the live page needs executor: ray, and "
        "`factory serve` shows a dataset beside any run"
    )


def test_targets_that_name_no_class_are_refused_before_a_shard_is_made(tmp_path):
    with pytest.raises(JobError, match=r"min_samples.ghost: no such class; the masks and the gene"):
        make_small(tmp_path, {"dataset.coverage": {"min_samples": {"ghost": 1}, "budget": 9}})
    assert not (tmp_path / "out/receipts").exists()


def test_targets_can_come_later_and_go_again(tmp_path):
    make_small(tmp_path)
    target = {"min_samples": {"cluster_01": {"count": 14, "min_area": 0.02}}, "budget": 200}
    grown = make_small(tmp_path, {"dataset.coverage": target})
    assert len(grown.records) > 3
    store = open_store(str(tmp_path / "out"))
    state = find_state(store)
    (reached,) = make_status(state, [], progress=progress_of(store, state))["targets"]
    assert (reached["name"], reached["state"]) == ("cluster_01, area >= 2.0%", "met")
    assert make_small(tmp_path, {"dataset.coverage": target}) == grown
    make_small(tmp_path)
    assert progress_of(store, state) is None


def test_no_round_for_targets_is_planned_and_nothing_retried_while_a_shard_is_in_quarantine(
    tmp_path,
):
    target = {"min_samples": {"cluster_01": 25}, "budget": 200}
    tar = tmp_path / "out/data/train/tiny-000001.tar"
    tar.parent.mkdir(parents=True)
    tar.write_bytes(b"not a tar")
    failed = []
    for _ in range(2):
        witness = Witness()
        with pytest.raises(IncompleteError, match="1 of 3 shards are in quarantine"):
            run_job(small_job(tmp_path, {"dataset.coverage": target}), witness)
        failed.append([name for name, _, _ in witness.failures])
        assert len(find_rounds(open_store(str(tmp_path / "out")))) == 1
        assert len(witness.starts) == 1, "no round was begun after the first"
    assert failed == [["tiny-000001"], []]


def test_a_shard_that_is_released_is_made_and_the_rounds_for_targets_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Sick, "cured", True)
    settings = {
        "dataset.generator": {"kind": "plugins.batches:Sick"},
        "dataset.coverage": {"min_samples": {"1": 20}, "budget": 40},
    }
    spec = small_job(tmp_path, settings)
    prepare_job(spec, Witness())  # the fit sees no sample of the dataset
    monkeypatch.setattr(Sick, "cured", False)
    with pytest.raises(IncompleteError, match="the first is tiny-000001 "):
        run_job(spec, Witness())
    monkeypatch.setattr(Sick, "cured", True)
    release(open_store(str(tmp_path / "out")), {1})
    manifest = run_job(spec, Witness())
    assert len(manifest.records) > 3
    assert sum(record.class_images[1] for record in manifest.records) >= 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda tar: tar.write_bytes(b""), "damaged (0 bytes, its receipt says"),
        (lambda tar: tar.write_bytes(tar.read_bytes()[:512]), "damaged (512 bytes, its receipt"),
        (lambda tar: tar.unlink(), "missing, though its receipt is there"),
    ],
    ids=["emptied", "cut", "removed"],
)
@pytest.mark.parametrize("num_samples", [13, 18])
def test_a_run_that_finds_a_shard_damaged_says_so_and_what_to_do(
    tmp_path, harm, found, num_samples
):
    make_small(tmp_path)
    tar = tmp_path / "out/data/train/tiny-000002.tar"
    harm(tar)
    with pytest.raises(DamageError) as caught:
        make_small(tmp_path, {"dataset.num_samples": num_samples})
    assert caught.value.where == str(tar)
    assert caught.value.found.startswith(found)
    assert "`factory repair " in caught.value.remedy
    assert (tmp_path / "out/data/train/tiny-000003.tar").exists() == (num_samples == 18)
