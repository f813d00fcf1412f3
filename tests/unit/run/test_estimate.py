import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_job import make_small, small_job

from factory.errors import JobError, StoreError
from factory.run import estimate as estimate_module
from factory.run.estimate import estimate_job


@pytest.fixture(scope="module")
def estimate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimate")
    make_small(folder)
    overrides = {
        "dataset.num_samples": 70,
        "run": {"executor": "inline", "num_actors": 2, "threads_per_actor": 1},
    }
    return estimate_job(small_job(folder, overrides)), folder


@pytest.mark.slow
def test_what_is_made_is_counted_and_what_is_missing_is_planned_behind_it(estimate):
    found, folder = estimate
    assert (found.num_samples, found.num_done) == (70, 13)
    assert found.num_shards == 3 + 12, "57 more in shards of 5"
    assert found.output_uri == str(folder / "out")
    assert found.num_actors == 2


@pytest.mark.slow
def test_time_and_size_come_from_real_batches(estimate):
    found, folder = estimate
    assert found.resolution_px == 32
    assert found.pairs_per_s > 1
    assert 1e8 < found.worker_bytes < 4e9, "torch alone takes more, the toy far less"
    assert found.seconds_left == pytest.approx(57 / (2 * found.pairs_per_s), abs=2)
    real = sum(path.stat().st_size for path in (folder / "out/data/train").iterdir())
    assert found.bytes_in_all == pytest.approx(70 / 13 * real, rel=0.5)
    assert found.warnings == ()


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_warns_of_what_readers_trip_over(tmp_path):
    spec = small_job(
        tmp_path,
        {
            "dataset.num_samples": 64,
            "dataset.samples_per_shard": 64,
            "dataset.encode": {"image": "jpeg"},
            "dataset.accept": {"min_confidence": 0.1},
            "dataset.generator": {"kind": "stylegan2", "weights": str(tmp_path / "none")},
        },
    )
    found = estimate_job(spec)
    assert list(tmp_path.iterdir()) == []
    assert (found.num_shards, found.num_done) == (1, 0)
    assert found.pairs_per_s is found.bytes_in_all is found.seconds_left is None
    unmeasured, *rest = found.warnings
    assert unmeasured.startswith("no estimate of time and size: dataset.generator.weights: no file")
    assert rest == [
        "only 1 shards: a training with more loader workers than shards leaves some idle; lower "
        "dataset.samples_per_shard",
        "jpeg images: masks fit the pixels before compression, not after",
        "dataset.accept drops samples and dataset.oversample is 1: shards will come out short",
    ]


@pytest.mark.slow
def test_a_setting_that_does_not_fit_the_generator_is_refused(tmp_path):
    with pytest.raises(JobError) as caught:
        estimate_job(small_job(tmp_path, {"dataset.segmenter.layers": ["s64"]}))
    assert str(caught.value) == (
        "dataset.segmenter.layers: found 's64'; allowed: auto, or some of s8, s16, s32"
    )


@pytest.fixture
def measured(monkeypatch):
    """What a calibration is taken to have measured; its own test measures."""
    found = {"pairs_per_s": 0.5, "bytes_per_pair": 100.0, "fit_s": 30.0, "resolution_px": 32}
    found |= {"device": "a CPU"}
    found |= {"accepted_share": None, "rejected": {}, "passes_per_pair": 1, "search_bytes": 0}
    found |= {"worker_bytes": 4e8, "gpu_bytes": None, "workers_per_gpu": None}
    found |= {"targets": []}
    monkeypatch.setattr(estimate_module, "_calibrate", lambda *_: (found, None))
    return found


def test_time_left_is_that_of_the_missing_pairs_and_of_the_fit(tmp_path, measured):
    make_small(tmp_path)
    job = small_job(tmp_path, {"dataset.num_samples": 70, "run": {"num_actors": 2}})
    found = estimate_job(job)
    assert found.seconds_left == 57 / (2 * 0.5) + 30
    assert found.bytes_in_all == 7000 + 15 * 6144, "pairs, and the ends of 15 tars"
    assert found.worker_bytes == 475_000_000, "what was measured, and Ray"
    measured["fit_s"] = None
    unknown = estimate_job(job)
    assert unknown.seconds_left == 57
    assert unknown.warnings == (
        "time left is without the fit: segmenter 'kmeans' does not say what its fit takes",
    )


@pytest.mark.parametrize(("num_samples", "warned"), [(63, False), (64, True)])
def test_few_shards_are_warned_of_from_eight_samples_for_each_of_eight_loaders(
    tmp_path, measured, num_samples, warned
):
    size = {"dataset.num_samples": num_samples, "dataset.samples_per_shard": 64}
    found = estimate_job(small_job(tmp_path, size))
    assert any(line.startswith("only 1 shards") for line in found.warnings) == warned


@pytest.mark.slow
def test_fewer_samples_than_are_planned_are_refused(estimate):
    _, folder = estimate
    with pytest.raises(
        JobError, match=r"^dataset\.num_samples: found 5, but 13 are already planned"
    ):
        estimate_job(small_job(folder, {"dataset.num_samples": 5}))


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"contains 'thesis.tex' but no dataset"):
        estimate_job(small_job(tmp_path))


def loaded_by(modules):
    code = f"import sys, {modules}\nprint('torch' in sys.modules, 'ray' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return finished.stdout.split()


@pytest.mark.slow
def test_planning_loads_neither_torch_nor_ray():
    assert loaded_by("factory.cli.app, factory.run.estimate, factory.care.verify") == [
        "False",
        "False",
    ]
    assert loaded_by("factory.job") == ["True", "False"]


def room_warnings(uri, bytes_per_pair, num_done=0):
    spec = small_job(Path(), {"output.uri": uri})
    return estimate_module._room_warnings(spec, float(bytes_per_pair), num_done)


def test_an_output_without_room_is_warned_of_with_what_it_takes(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert room_warnings(str(tmp_path / "a" / "b"), free / 26) == []
    (told,) = room_warnings(str(tmp_path / "a" / "b"), free)
    assert told.startswith(f"output.uri: the dataset takes {13 * free / 1e6:,.0f} MB more, and ")
    assert told.endswith(f" MB are free at {tmp_path}; make room, or choose another folder")
    assert room_warnings(str(tmp_path), free, num_done=13) == []
    assert room_warnings("s3://bucket/prefix", free) == []


def test_what_is_rejected_is_in_the_time_and_in_the_cost_of_a_pair(tmp_path, measured):
    measured |= {"accepted_share": 0.25, "rejected": {"one_mode": 24}, "passes_per_pair": 4}
    job = small_job(tmp_path, {"dataset.num_samples": 70, "run": {"num_actors": 2}})
    found = estimate_job(job)
    assert found.seconds_left == 70 / (2 * 0.5 * 0.25) + 30
    assert (found.accepted_share, found.passes_per_pair, found.seconds_per_pair) == (0.25, 16, 8)
    assert found.warnings[0] == (
        "75% of the tried samples were rejected (one_mode: 24): shards will be short; set "
        "dataset.oversample to at least 4"
    )
    spare = small_job(tmp_path, {"dataset.num_samples": 70, "dataset.oversample": 4.0})
    assert not any("rejected" in line for line in estimate_job(spare).warnings)


def test_a_job_whose_tried_samples_are_all_rejected_has_no_time_left_to_tell(tmp_path, measured):
    measured |= {"accepted_share": 0.0, "rejected": {"confidence": 12}}
    found = estimate_job(small_job(tmp_path, {"dataset.oversample": 9.0}))
    assert found.seconds_left is found.seconds_per_pair is found.passes_per_pair is None
    assert "set dataset.oversample to more, or loosen the rules" in found.warnings[0]


@pytest.mark.slow
def test_what_targets_cost_is_measured_and_a_budget_below_it_is_told(tmp_path):
    rare = {"min_samples": {"3": {"count": 40, "min_area": 0.075}}, "budget": 1000}
    kmeans = {"kind": "kmeans", "num_clusters": 4, "layers": ["s32"], "fit": {"num_images": 32}}
    settings = {
        "dataset.num_samples": 50,
        "dataset.batch_size": 8,
        "dataset.latents": {"truncation_psi": 0.7},
        "dataset.segmenter": kmeans,
        "dataset.coverage": rare,
    }
    other = settings | {"dataset.segmenter": kmeans | {"fit": {"num_images": 29}}}
    assert estimate_job(small_job(tmp_path, other)).targets == (), "nothing is fitted yet"
    make_small(tmp_path, settings | {"dataset.coverage": None})
    found = estimate_job(small_job(tmp_path, settings))
    (target,) = found.targets
    assert target["name"] == "3, area >= 7.5%"
    assert target["by_search"] < target["by_rejection"]
    (warning,) = [line for line in found.warnings if "coverage.budget" in line]
    assert re.fullmatch(
        r"dataset.coverage.budget: 1,000 images, and the targets are likely to take [\d,]+: some "
        "will not be met",
        warning,
    )
    enough = settings | {"dataset.coverage": rare | {"budget": 100_000}}
    assert not [
        line for line in estimate_job(small_job(tmp_path, enough)).warnings if "budget" in line
    ]
