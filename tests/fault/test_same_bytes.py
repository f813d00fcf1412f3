"""The promise that matters most: whatever happens on the way, the bytes are the same."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def committed(lab: Lab, output: str) -> int:
    return len(list((lab.folder / output / "receipts").rglob("*.json")))


def check_whole(lab: Lab, output: str) -> None:
    assert "all good" in lab.must_run(
        "verify", "--deep", str(lab.folder / output), "--regenerate", "3", "--trust-plugins"
    )
    assert not (lab.folder / output / "tmp").exists(), "unfinished files were left behind"


def test_inline_ray_and_ray_with_a_killed_worker_give_identical_shards(lab: Lab) -> None:
    lab.must_run("run", str(lab.job("inline", executor="inline")))
    lab.must_run("run", str(lab.job("ray", executor="ray", num_actors=2)))
    lab.cue.touch()
    killed = lab.run(
        "run", str(lab.job("killed", executor="ray", num_actors=2)), FACTORY_TEST_DIE_AT="41"
    )
    assert killed.returncode == 0, killed.stderr
    assert "worker_died" in killed.stderr
    assert "shard_retry shard=toy-000002" in killed.stderr
    assert "its worker died (killed, crashed, or out of memory)" in killed.stderr
    assert not lab.cue.exists(), "nobody was killed"
    assert len(lab.digests("inline")) == 6
    assert lab.digests("ray") == lab.digests("inline")
    assert lab.digests("killed") == lab.digests("inline")
    check_whole(lab, "killed")


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_killed_driver_loses_nothing_and_doubles_nothing(lab: Lab, executor: str) -> None:
    undisturbed = lab.job("undisturbed", "mortal:Slow", executor="inline")
    lab.must_run("run", str(undisturbed))
    lab.cue.touch()
    job = lab.job("killed", "mortal:Slow", executor=executor, num_actors=2)
    driver = lab.start("run", str(job))
    wait_until(lambda: committed(lab, "killed") >= 2)
    driver.kill()
    driver.communicate()
    assert committed(lab, "killed") < 6, "the run was over before it was killed"
    before = lab.digests("killed")
    lab.cue.unlink()
    lab.must_run("run", str(job))
    after = lab.digests("killed")
    assert after == lab.digests("undisturbed")
    assert before.items() <= after.items()
    check_whole(lab, "killed")


def test_two_drivers_on_one_output_make_one_dataset(lab: Lab) -> None:
    lab.must_run("run", str(lab.job("alone", "mortal:Slow", executor="inline")))
    lab.cue.touch()
    job = lab.job("shared", "mortal:Slow", executor="inline")
    drivers = [lab.start("run", str(job)) for _ in range(2)]
    errors = [driver.communicate(timeout=120)[1] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], errors
    assert lab.digests("shared") == lab.digests("alone")
    check_whole(lab, "shared")


@pytest.mark.parametrize(
    ("number", "executor"),
    [(signal.SIGTERM, "inline"), (signal.SIGINT, "inline"), (signal.SIGTERM, "ray")],
)
def test_a_signal_stops_cleanly_and_the_run_resumes(
    lab: Lab, number: signal.Signals, executor: str
) -> None:
    lab.cue.touch()
    job = lab.job("stopped", "mortal:Slow", executor=executor, num_actors=1)
    driver = lab.start("run", str(job))
    wait_until(lambda: committed(lab, "stopped") >= 1)
    driver.send_signal(number)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 75, err
    assert err.splitlines()[-1].startswith("stopped with ")
    assert not (lab.folder / "stopped" / "tmp").exists()
    status = json.loads(lab.must_run("status", "--json", str(lab.folder / "stopped")))
    assert status["state"] == "incomplete"
    lab.cue.unlink()
    lab.must_run("run", str(job))
    check_whole(lab, "stopped")


def real_job(lab: Lab, output: str, **run: object) -> Path:
    """24 pairs of the shipped StyleGAN2: real convolutions, whose sums could depend on threads."""
    return lab.write_job(
        {
            "name": "cells",
            "dataset": {
                "num_samples": 24,
                "samples_per_shard": 6,
                "batch_size": 4,
                "generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
                "segmenter": {
                    "kind": "kmeans",
                    "num_clusters": 4,
                    "layers": ["b64.conv1"],
                    "fit": {"num_images": 8, "pixels_per_image": 64},
                },
            },
            "run": run,
            "output": {"uri": str(lab.folder / output)},
        }
    )


def test_threads_and_actors_change_no_byte_of_a_real_generators_shards(lab: Lab) -> None:
    lab.must_run("run", str(real_job(lab, "one", executor="inline")), OMP_NUM_THREADS="1")
    two = real_job(lab, "two", executor="inline", threads_per_actor=2, encode_threads=3)
    lab.must_run("run", str(two), OMP_NUM_THREADS="2")
    lab.must_run("run", str(real_job(lab, "three", executor="ray", num_actors=3)))
    assert len(lab.digests("one")) == 4
    assert lab.digests("two") == lab.digests("one")
    assert lab.digests("three") == lab.digests("one")


def test_refitting_gives_the_same_segmenter_file(lab: Lab) -> None:
    for name, threads in (("a", "1"), ("b", "2")):
        lab.must_run(
            "fit",
            str(real_job(lab, "fitted")),
            "-o",
            str(lab.folder / name),
            XDG_CACHE_HOME=str(lab.folder / f"cache-{name}"),
            OMP_NUM_THREADS=threads,
        )
    assert (lab.folder / "a").read_bytes() == (lab.folder / "b").read_bytes()


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores")
def test_more_actors_than_cores_are_allowed_on_this_machine(lab: Lab) -> None:
    job = lab.job("many", executor="ray", num_actors=(os.cpu_count() or 1) + 1)
    assert "96 pairs in 6 shards" in lab.must_run("run", str(job))
