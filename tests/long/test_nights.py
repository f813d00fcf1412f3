"""Nights on a real Ray cluster: submitted, overlapping, killed; and a cluster that grows from nothing.

`python -m pytest tests/long/test_nights.py`; needs `pip install 'maskfactory[cluster]'`.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from small_job import Witness, small_job

from factory.dataset.state import find_rounds
from factory.job import run_job
from factory.manifest.paths import MANIFEST_PATH
from factory.manifest.table import read_manifest
from factory.spec.yaml_text import dump_yaml
from factory.store import open_store

pytest.importorskip("aiohttp", reason="needs ray[default]: pip install 'maskfactory[cluster]'")
from ray.job_submission import JobSubmissionClient

STEP = 1000  # four shards of 250
SHARDS = {"dataset.samples_per_shard": 250, "dataset.batch_size": 4}
LIMIT_S = 400
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ray(*arguments, check=True, **environment):
    command = [str(Path(sys.executable).parent / "ray"), *arguments]
    env = os.environ | ENVIRONMENT | environment
    return subprocess.run(
        command, env=env, capture_output=True, text=True, check=check, timeout=LIMIT_S
    )


class LocalCluster:
    """One host with a dashboard, which is what `ray job submit` talks to."""

    def __init__(self, *options, **environment):
        self.folder = tempfile.mkdtemp(prefix="mfn", dir="/tmp")
        self.port, self.dashboard = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block",
            *(options or ["--num-cpus=2"]),
            *(options or ["--num-cpus=2"]),
            f"--port={self.port}", f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={free_port()}",
            "--object-store-memory=134217728", f"--temp-dir={self.folder}", "--min-worker-port=0",
            "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}",
            "--node-ip-address=127.0.0.1",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            env=os.environ | ENVIRONMENT | environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers, "a dashboard")

    def _answers(self):
        assert self.process.poll() is None, "the cluster did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.dashboard)):
                return False
        return ray("job", "list", "--address", self.url, check=False).returncode == 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.dashboard}"

    def submit(self, night, folder):
        """Start a night, and come back at once."""
        command = [sys.executable, "-m", "factory", "run", str(folder / "job.yaml")]
        command += ["--set", f"dataset.num_samples=+{STEP}", "--once", night]
        name = f"{night}-{time.monotonic_ns()}"
        ray(
            "job",
            "submit",
            "--no-wait",
            "--address",
            self.url,
            "--submission-id",
            name,
            "--",
            *command,
        )
        return name

    def wait(self, name):
        client = JobSubmissionClient(self.url)
        wait_for(lambda: client.get_job_status(name).is_terminal(), f"the end of {name}")
        return str(client.get_job_status(name)), client.get_job_logs(name)

    def end(self):
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        self.process.wait(60)
        _, alive = psutil.wait_procs(children, timeout=20)
        for process in alive:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, what):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"no {what} after {LIMIT_S} s"
        time.sleep(0.2)


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
    first = cluster.submit("n1", folder)
    wait_for((folder / "out/plan/round-0000.json").exists, "plan of the first night")
    second = cluster.submit("n2", folder)  # while the first one is at work
    for name in (first, second):
        status, logs = cluster.wait(name)
        assert status == "SUCCEEDED", logs
    jobs = [JobSubmissionClient(cluster.url).get_job_info(name) for name in (first, second)]
    assert jobs[1].start_time < jobs[0].end_time, "the second night began after the first one"
    third = cluster.submit("n3", folder)
    wait_for(lambda: receipts(folder, 2), "shard of the third night")
    assert kill_driver(folder, "n3")
    assert cluster.wait(third)[0] == "FAILED"
    assert 0 < receipts(folder, 2) < 4
    status, logs = cluster.wait(cluster.submit("n3", folder))
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
