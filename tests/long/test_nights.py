"""Nights on a real Ray cluster: submitted, overlapping, killed.

`python -m pytest tests/long/test_nights.py`; needs `pip install 'maskfactory[cluster]'`.
"""

import hashlib
import signal
import sys
import time

import psutil
import pytest
from local_cluster import LocalCluster, wait_for
from ray.job_submission import JobSubmissionClient
from small_job import Witness, small_job

from factory.dataset.state import find_rounds
from factory.job import run_job
from factory.manifest.paths import MANIFEST_PATH
from factory.manifest.table import read_manifest
from factory.spec.yaml_text import dump_yaml
from factory.store import open_store

STEP = 1000  # four shards of 250
SHARDS = {"dataset.samples_per_shard": 250, "dataset.batch_size": 4}


def submit(cluster, night, folder):
    """Start a night, and come back at once; gives the name of its job."""
    command = [sys.executable, "-m", "factory", "run", str(folder / "job.yaml")]
    command += ["--set", f"dataset.num_samples=+{STEP}", "--once", night]
    name = f"{night}-{time.monotonic_ns()}"
    cluster.submit(name, *command)
    return name


@pytest.fixture
def cluster():
    started = LocalCluster()
    yield started
    started.end()


def write_job(folder, **run):
    folder.mkdir(parents=True, exist_ok=True)
    document = small_job(folder, SHARDS).model_dump(mode="json", exclude_unset=True)
    document["run"] = {"executor": "ray", "address": "auto", **run}
    (folder / "job.yaml").write_text(dump_yaml(document))
    return folder


def digests(root):
    kept = [
        *root.glob("data/**/*.tar"),
        *root.glob("meta/**/*.parquet"),
        root / "segmenter.safetensors",
    ]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def receipts(folder, round_index):
    return len([*(folder / "out").glob(f"receipts/{round_index:04d}/*.json")])


def kill_driver(folder, night):
    """kill -9 of the process that drives a night, and of nothing else."""
    killed = 0
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(folder / "job.yaml") in words and night in words and "factory" in words:
            process.send_signal(signal.SIGKILL)
            killed += 1
    return killed


@pytest.mark.timeout(1500)
def test_three_nights_one_overlapping_and_one_killed_are_the_undisturbed_ones(cluster, tmp_path):
    folder = write_job(tmp_path / "nights")
    first = submit(cluster, "n1", folder)
    wait_for((folder / "out/plan/round-0000.json").exists, "plan of the first night")
    second = submit(cluster, "n2", folder)  # while the first one is at work
    for name in (first, second):
        status, logs = cluster.wait(name)
        assert status == "SUCCEEDED", logs
    jobs = [JobSubmissionClient(cluster.url).get_job_info(name) for name in (first, second)]
    assert jobs[1].start_time < jobs[0].end_time, "the second night began after the first one"
    third = submit(cluster, "n3", folder)
    wait_for(lambda: receipts(folder, 2), "shard of the third night")
    assert kill_driver(folder, "n3")
    assert cluster.wait(third)[0] == "FAILED"
    assert 0 < receipts(folder, 2) < 4
    status, logs = cluster.wait(submit(cluster, "n3", folder))
    assert status == "SUCCEEDED", logs
    assert "planned_before step=n3" in logs

    store = open_store(str(folder / "out"))
    assert [(r.step, r.num_samples) for r in find_rounds(store)] == [
        (f"n{i}", STEP) for i in (1, 2, 3)
    ]
    manifest = read_manifest(store.read(MANIFEST_PATH), source="")
    assert (manifest.num_samples, len(manifest.records)) == (3 * STEP, 12)

    for night in ("n1", "n2", "n3"):
        run_job(small_job(tmp_path / "steps", SHARDS), Witness(), add=STEP, once=night)
    whole = small_job(tmp_path / "whole", SHARDS | {"dataset.num_samples": 3 * STEP})
    run_job(whole, Witness())
    made = digests(folder / "out")
    assert made == digests(tmp_path / "steps" / "out")
    assert made == digests(tmp_path / "whole" / "out")
