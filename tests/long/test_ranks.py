"""Two processes of torchrun train a network and resume: `python -m pytest tests/long/test_ranks.py`."""

import json
import subprocess
import sys
from collections import Counter

import pytest
import torch
from small_job import make_divided

ONE_OF_TWO = """
import json, os, signal, sys
from pathlib import Path
from factory.cli.app import app
from factory.dataset.reader import Dataset
from factory.downstream.training import NetworkTraining

signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends all when one has ended
rank = int(os.environ["RANK"])
stopped_at, read, weights = int(sys.argv[1]), [], {}
real_read, real_step, real_run = Dataset.read, NetworkTraining._make_step, NetworkTraining.run

def counted(self, *words, **more):
    for sample in real_read(self, *words, **more):
        if self.split == "train":
            read.append(sample.key)
        yield sample

def step(self, *words):
    loss = real_step(self, *words)
    if rank == 1 and self.step + 1 == stopped_at:  # a signal that one process hears
        os.kill(os.getpid(), signal.SIGTERM)
    return loss

def run(self, *words):
    try:
        return real_run(self, *words)
    finally:
        weights.update({name: t.double().sum().item() for name, t in self.ema.items()})
        raw = self.network.state_dict()
        weights.update({f"raw {name}": t.double().sum().item() for name, t in raw.items()})
        weights["step"] = self.step

Dataset.read, NetworkTraining._make_step, NetworkTraining.run = counted, step, run
sys.argv[1:2] = []
said = Path(sys.argv.pop(1))
try:
    app()
finally:
    said.with_name(f"{said.name}-{rank}.json").write_text(json.dumps([read, weights]))
"""


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    return make_divided(tmp_path_factory.mktemp("trained_on"))


def by_two(folder, divided, name, stopped_at, *more):
    """Train with two processes: the exit code, what was said, and what each rank read and has."""
    script = folder / "one.py"
    script.write_text(ONE_OF_TWO)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--standalone",
    ]
    command += [str(script), str(stopped_at), str(folder / name), "train", str(divided)]
    command += ["-o", str(folder / "net"), "--steps", "12", "--batch-size", "8", "--every", "4"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    files = [folder / f"{name}-{rank}.json" for rank in range(2)]
    return done, [json.loads(file.read_text()) for file in files]


def test_two_processes_train_one_network_and_resume(divided, tmp_path):
    done, ((first_read, first), (second_read, second)) = by_two(tmp_path, divided, "stopped", 7)
    assert done.returncode != 0
    assert done.stderr.count("stopped after 7 steps; run it again to resume") == 2
    assert first == second
    assert first["step"] == 7
    # Of 50 pairs 48 make an epoch of 6 steps: each rank reads 24 of them, and the two share none.
    epoch = Counter(first_read[:24]) + Counter(second_read[:24])
    assert len(epoch) == 48
    assert set(epoch.values()) == {1}

    done, ((first_read, first), (second_read, second)) = by_two(tmp_path, divided, "resumed", 0)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("trained 12 steps, mIoU 0.") == 1
    assert first == second
    assert len(first_read) >= 5 * 4
    assert not set(first_read[:20]) & set(second_read[:20])
    net = tmp_path / "net"
    assert {path.name for path in net.iterdir()} >= {
        "model.pt",
        "model.onnx",
        "log.csv",
        "state.pt",
    }
    assert len((net / "log.csv").read_text().splitlines()) == 4
    state = torch.load(net / "state.pt", weights_only=True)
    assert state["ranks"] == 2
    sums = {name: tensor.double().sum().item() for name, tensor in state["ema"].items()}
    assert sums.items() <= first.items()
