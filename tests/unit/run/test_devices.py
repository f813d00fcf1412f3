"""Which device workers compute on, and how a machine's cores are shared."""

import os
import subprocess
import sys

import pytest

from factory.run import devices
from factory.run.devices import gpu_share, num_cores_here, num_encoders, num_workers_here, with_gpus
from factory.spec import RunSpec


@pytest.fixture
def machine(monkeypatch):
    """Sets the numbers of cores and GPUs that this machine seems to have."""

    def has(cores: int, gpus: int) -> None:
        monkeypatch.setattr(devices, "num_cores_here", lambda: cores)
        monkeypatch.setattr(devices, "num_gpus_here", lambda: gpus)

    return has


@pytest.mark.parametrize(
    ("asked", "gpus", "share"), [("auto", 0, 0), ("auto", 2, 1), (0, 2, 0), (0.5, 0, 0.5)]
)
def test_a_gpu_in_sight_is_used_unless_the_job_says_otherwise(machine, asked, gpus, share):
    machine(8, gpus)
    run = RunSpec(gpus_per_actor=asked)
    assert gpu_share(run) == share
    assert with_gpus(run, float(gpus)).gpus_per_actor == share


@pytest.mark.parametrize(
    ("run", "gpus", "workers"),
    [
        ({}, 0, 16),
        ({"threads_per_actor": 3}, 0, 5),
        ({"threads_per_actor": 40}, 0, 1),
        ({"num_actors": 7}, 4, 7),
        ({}, 4, 4),
        ({"gpus_per_actor": 0.5}, 4, 8),
        ({"gpus_per_actor": 0}, 4, 16),
        ({"threads_per_actor": 8}, 4, 2),
    ],
)
def test_workers_are_as_many_as_cores_and_gpus_allow(machine, run, gpus, workers):
    machine(16, gpus)
    assert num_workers_here(RunSpec(**run)) == workers


@pytest.mark.parametrize(
    ("run", "is_gpu", "workers", "encoders"),
    [
        ({}, True, 1, 16),
        ({}, True, 4, 4),
        ({}, True, 64, 1),
        ({}, False, 1, 15),
        ({}, False, 16, 0),
        ({"threads_per_actor": 4}, False, 2, 4),
        ({"threads_per_actor": 4}, False, 4, 0),
        ({"encode_threads": 3}, True, 1, 3),
        ({"encode_threads": 3}, False, 1, 3),
        ({"encode_threads": 0}, True, 1, 0),
    ],
)
def test_the_cores_of_a_machine_are_divided_among_its_workers(
    machine, run, is_gpu, workers, encoders
):
    machine(16, 1)
    found = num_encoders(RunSpec(**run), is_gpu=is_gpu, num_workers=workers)
    assert found == encoders


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no such call on this system")
def test_cores_are_those_that_the_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from factory.run.devices import num_cores_here; print(num_cores_here())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1"]
    assert num_cores_here() == len(os.sched_getaffinity(0))


def test_a_machine_without_gpu_files_is_not_asked_through_torch():
    code = (
        "import sys; from factory.run import devices; devices._GPU_FILES = ('/no/such*',)\n"
        "print(devices.num_gpus_here(), 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "False"]
