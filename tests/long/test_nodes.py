"""Nodes that come on demand, and nodes that are not alike: about a minute.

`python -m pytest tests/long/test_nodes.py`. The nodes are Ray's own, all on this machine; those that
come on demand are started by Ray's autoscaler with its provider for tests.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import yaml
from fault.chaos import Nodes
from fault.lab import Lab

RAY = str(Path(sys.executable).parent / "ray")
SMALL = ["--object-store-memory=83886080", "--min-worker-port=0", "--max-worker-port=0"]
LIMIT_S = 300
OTHER = "A Processor of Another Kind"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"no {what} after {LIMIT_S} s"
        time.sleep(0.2)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all it has started, and nothing else."""
    all_of_it = [process, *psutil.Process(process.pid).children(recursive=True)]
    for one in all_of_it:
        one.kill()
    process.wait()
    psutil.wait_procs(all_of_it[1:], timeout=20)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A folder whose nodes, too, know the cue, for which shards take a while: every node gets some."""
    lab = Lab(tmp_path)
    lab.cue.touch()
    monkeypatch.setenv("FACTORY_TEST_CUE", str(lab.cue))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return lab


def long_job(lab: Lab, output: str, **run: Any) -> Path:
    """A job of 60 shards: there is work left when the last node comes."""
    document = yaml.safe_load(lab.job(output, "mortal:Slow", **run).read_text())
    document["dataset"]["num_samples"] = 960
    return lab.write_job(document)


def receipts(lab: Lab, output: str) -> list[dict[str, Any]]:
    paths = (lab.folder / output / "receipts").rglob("*.json")
    return [json.loads(path.read_text()) for path in sorted(paths)]


def alive(address: str) -> float:
    """The CPUs of the nodes that are there now."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        return sum(node["Resources"].get("CPU", 0.0) for node in nodes)
    finally:
        ray.shutdown()


@pytest.fixture
def growing(tmp_path: Path, lab: Lab) -> Iterator[str]:
    """The address of a head without CPUs, to which up to two nodes of one are added on demand."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(autoscaling(address)))
    folder = tempfile.mkdtemp(prefix="mfg", dir="/tmp")  # sockets: a short name
    command = [RAY, "start", "--head", "--block", "--num-cpus=0", f"--port={port}", *SMALL,
               f"--autoscaling-config={config}", f"--temp-dir={folder}",
               "--include-dashboard=false"]  # fmt: skip
    demand = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    log = tmp_path / "head.log"
    with log.open("wb") as file:
        head = subprocess.Popen(command, env=os.environ | demand, stdout=file, stderr=file)
    try:
        wait_for(lambda: "runtime started" in log.read_text() or head.poll() is not None, "head")
        yield address
    finally:
        end(head)
        shutil.rmtree(folder, ignore_errors=True)


def autoscaling(address: str) -> dict[str, Any]:
    """What the autoscaler is told, with every field that it asks for."""
    steps = ["initialization", "setup", "head_setup", "worker_setup", "head_start_ray",
             "worker_start_ray"]  # fmt: skip
    worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "growing",
        "max_workers": 2,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,  # the nodes share one address
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
        },
        "available_node_types": {"ray.head.default": head, "worker": worker},
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{step}_commands": [] for step in steps},
    }


@pytest.mark.timeout(900)
def test_nodes_come_from_none_for_a_run_and_go_when_it_is_over(lab: Lab, growing: str) -> None:
    job = long_job(lab, "grown", executor="ray", address=growing, num_actors="auto", max_actors=2)
    refused = lab.run("run", str(lab.job("fixed", executor="ray", address=growing)))
    assert refused.returncode == 3, refused.stderr
    assert "set run.max_actors" in refused.stderr
    assert alive(growing) == 0
    lab.must_run("run", str(job))
    workers = {record["worker"] for record in receipts(lab, "grown")}
    assert (len(receipts(lab, "grown")), len(workers)) == (60, 2)
    assert "all good" in lab.must_run("verify", str(lab.folder / "grown"))
    wait_for(lambda: alive(growing) == 0, "end of the nodes")
    lab.cue.unlink()
    lab.must_run("run", str(long_job(lab, "inline")))
    assert lab.digests("grown") == lab.digests("inline")


@pytest.fixture
def unlike(tmp_path: Path, lab: Lab) -> Iterator[str]:
    """The address of three nodes, one of which sees another processor in /proc/cpuinfo."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a mount namespace")
    model = tmp_path / "cpuinfo"
    text = Path("/proc/cpuinfo").read_text()
    model.write_text(re.sub(r"(?m)^(model name\s*:).*", rf"\1 {OTHER}", text))
    nodes = Nodes()
    join = (
        f"mount --bind {model} /proc/cpuinfo && exec {RAY} start --address={nodes.address} --block"
    )
    options = " ".join(["", "--num-cpus=1", *SMALL])
    with (tmp_path / "node.log").open("wb") as file:
        command = ["unshare", "-m", "sh", "-c", join + options]
        other = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        wait_for(lambda: alive(nodes.address) == 3, "third node")
        yield nodes.address
    finally:
        end(other)
        nodes.close()


@pytest.mark.timeout(900)
def test_receipts_state_the_processor_of_the_node_that_made_a_shard(lab: Lab, unlike: str) -> None:
    ran = lab.run("run", str(lab.job("unlike", "mortal:Slow", executor="ray", address=unlike)))
    assert ran.returncode == 0, ran.stderr
    devices = [record["device"] for record in receipts(lab, "unlike")]
    assert len(devices) == 6
    assert len(set(devices)) == 2
    assert OTHER in devices
    assert "other_maker" in ran.stderr
    shown = lab.must_run("verify", str(lab.folder / "unlike"))
    assert OTHER in shown
