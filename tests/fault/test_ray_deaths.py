"""What Ray says of real deaths of real processes, and what is made of it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError

from factory.run.fleet import WorkerLost
from factory.run.ray_cluster import loss_of
from factory.run.ray_session import joined_cluster
from factory.spec import RunSpec

NODE = "0" * 56
OF_A_PROCESS = "killed, crashed, or out of memory"


def start_mortal() -> Any:
    """Start an actor that dies in several ways."""

    class Mortal:  # inside of a function, so that its code goes to the worker with it
        def pid(self) -> int:
            return os.getpid()

        def wait(self, begun: Path) -> None:
            begun.touch()
            time.sleep(60)

        def leave(self) -> None:
            os._exit(3)

    return ray.remote(Mortal).options(num_cpus=0, max_restarts=0, max_task_retries=0).remote()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with joined_cluster(RunSpec(num_actors=1)):
        yield


def death(number: int | None, begun: Path) -> RayError:
    """The error of a call whose process gets the signal `number`, or leaves by itself."""
    actor = start_mortal()
    pid = ray.get(actor.pid.remote())
    call = actor.leave.remote() if number is None else actor.wait.remote(begun)
    if number is not None:
        # A process that is not yet in its call ends without a word about the signal it got.
        while not begun.exists():
            time.sleep(0.01)
        os.kill(pid, number)
    with pytest.raises(RayError) as caught:
        ray.get(call, timeout=60)
    return caught.value


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, None])
def test_a_process_that_ends_may_have_been_its_shard_s_doing(
    cluster: None, number: int, tmp_path: Path
) -> None:
    error = death(number, tmp_path / "begun")
    assert isinstance(error, ActorDiedError)
    assert loss_of(7, NODE, error) == WorkerLost(7, OF_A_PROCESS, is_preempted=False)


def test_a_process_that_is_told_to_go_counts_against_nobody(cluster: None, tmp_path: Path) -> None:
    error = death(signal.SIGTERM, tmp_path / "begun")
    assert loss_of(7, NODE, error).is_preempted


def test_a_death_on_a_node_that_is_taken_away_has_a_field_for_it(cluster: None) -> None:
    error = ActorDiedError()
    assert not loss_of(7, NODE, error).is_preempted
    error._preempted = True
    assert loss_of(7, NODE, error).is_preempted


def test_a_worker_out_of_reach_counts_against_nobody(cluster: None) -> None:
    assert loss_of(7, NODE, ActorUnavailableError("no answer", None)).is_preempted


def test_a_node_that_runs_out_of_memory_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ray.shutdown()
    # Every node has more than a thousandth of its memory in use.
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    with joined_cluster(RunSpec(num_actors=1)):
        with pytest.raises(OutOfMemoryError) as caught:
            ray.get(start_mortal().wait.remote(tmp_path / "begun"), timeout=60)
        lost = loss_of(7, NODE, caught.value)
    assert lost.reason == "ended by Ray, because its node was running out of memory"
    assert not lost.is_preempted, "another shard of this size would do the same"
