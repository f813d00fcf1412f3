"""Targets steer the same dataset whatever happens on the way; the service comes back by itself."""

import http.client
import json
import os
import re
import signal
import threading
import time
from typing import Any

import psutil
from fault.targets import cells, kill_after, rounds
from lab import Lab

from factory.dataset.state import find_state
from factory.serve.facts import describe_coverage
from factory.serve.view import DatasetView
from factory.store import open_store


def test_targets_are_met_without_waste_and_the_same_after_a_kill(lab: Lab) -> None:
    """On Ray, and killed more than once: `tests/long/test_targets.py`."""
    lab.must_run("run", str(cells(lab, "once")))
    status = json.loads(lab.must_run("status", "--json", str(lab.folder / "once")))
    assert {target["state"] for target in status["targets"]} == {"met"}
    for target in status["targets"]:
        assert target["have"] <= 1.15 * target["wanted"], target
    assert status["samples_committed"] <= 1.15 * 200
    assert status["rounds"] > 2
    job = cells(lab, "killed")
    kill_after(lab, job, "killed", num_receipts=4)  # in a round that was planned for a target
    assert len(lab.digests("killed")) < len(lab.digests("once"))
    lab.must_run("run", str(job))
    assert lab.digests("killed") == lab.digests("once")
    assert rounds(lab, "killed") == rounds(lab, "once")


def ask(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return json.loads(response.read())
    finally:
        connection.close()


def patiently(port: int, path: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask(port, path)
        except (OSError, http.client.HTTPException, AssertionError):
            assert time.monotonic() < deadline, "the service never answered"
            time.sleep(0.1)


def service_pids(driver: int) -> list[int]:
    return [
        child.pid
        for child in psutil.Process(driver).children(recursive=True)
        if "_Service" in " ".join(child.cmdline())
    ]


def served_port(lines: list[str]) -> int:
    """The port that the driver's log names."""
    deadline = time.monotonic() + 90
    while not (found := re.findall(r"127\.0\.0\.1:(\d+)", "".join(lines))):
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)
    return int(found[0])


def test_a_killed_service_is_back_with_the_same_numbers_and_the_run_goes_on(lab: Lab) -> None:
    lab.cue.touch()
    job = lab.job("served", "mortal:Slow", executor="ray", num_actors=1, serve_port=0)
    job.write_text(job.read_text().replace("num_samples: 96", "num_samples: 640"))
    driver = lab.start("run", str(job))
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(driver.stderr or ()), daemon=True)
    reader.start()
    port = served_port(lines)
    while (summary := patiently(port, "/v1/summary"))["shards"]["leased"] == 0:
        assert driver.poll() is None, lines
        time.sleep(0.1)
    assert summary["state"] == "running"
    (pid,) = service_pids(driver.pid)
    before = patiently(port, "/v1/coverage")
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    after = patiently(port, "/v1/coverage")
    back_s = time.monotonic() - killed_at
    assert service_pids(driver.pid) != [pid]
    assert after["samples"] >= before["samples"]
    print(f"the service was back after {back_s:.1f} s")
    lab.cue.unlink()
    assert driver.wait(120) == 0, lines
    reader.join(5)
    for pipe in (driver.stdout, driver.stderr):
        assert pipe is not None
        pipe.close()
    store = open_store(str(lab.folder / "served"))
    whole = describe_coverage(DatasetView(store).snapshot())
    assert whole.samples == sum(r.num_samples for r in find_state(store).records) == 640
