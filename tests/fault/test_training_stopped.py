"""A training that is killed, or asked to stop, goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from pictures import small_document, tar_of_pictures

from factory.train_generator.state import STATE_NAME, load_state

CPU = torch.device("cpu")


@pytest.fixture
def job(tmp_path):
    document = small_document(tar_of_pictures(tmp_path, 20), tmp_path / "out")
    document["schedule"]["num_images"] = 100_000
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def start(job):
    command = [sys.executable, "-m", "factory", "train-generator", str(job)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(job):
    process = start(job)
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told


def images_in(folder):
    return load_state(folder / STATE_NAME, CPU).num_images


def wait_for_images(process, folder, least):
    end = time.monotonic() + 200
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        if (folder / STATE_NAME).exists() and images_in(folder) >= least:
            return
        time.sleep(0.02)
    raise AssertionError("no progress")


def test_a_kill_loses_at_most_an_interval_and_the_end_is_the_same(job, tmp_path):
    folder = tmp_path / "out"
    process = start(job)
    wait_for_images(process, folder, 64)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    survived = images_in(folder)
    assert survived >= 64
    assert survived % 16 == 0, "only whole intervals are saved"

    document = yaml.safe_load(job.read_text())
    document["schedule"]["num_images"] = survived + 32
    job.write_text(yaml.safe_dump(document))
    finish(job)
    document["output"] = str(tmp_path / "untroubled")
    job.write_text(yaml.safe_dump(document))
    finish(job)
    first, second = (load_state(f / STATE_NAME, CPU) for f in (folder, tmp_path / "untroubled"))
    assert first.num_images == second.num_images == survived + 32
    assert first.scores == second.scores
    for name, tensor in first.generator.items():
        assert torch.equal(tensor, second.generator[name]), name


def test_a_terminate_saves_and_exits_with_75(job, tmp_path):
    folder = tmp_path / "out"
    process = start(job)
    wait_for_images(process, folder, 32)
    process.terminate()
    _, told = process.communicate(timeout=200)
    assert process.returncode == 75, told
    images = images_in(folder)
    assert f"stopped after {images} pictures; run it again to resume" in told
