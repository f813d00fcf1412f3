"""The service under load: 50 clients that poll for a minute, over a million samples.

    python tests/bench/serve.py [--shards 4000] [--clients 50] [--seconds 60]

The dataset is synthetic: real receipts of 250 samples each, without tars. Every client asks for the
four answers that the page asks for, once a second each, as the page would if it changed all the time.
The service runs in a process of its own, as `factory serve` starts it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil

from factory.identity import shard_name
from factory.manifest.coverage import cover_samples
from factory.manifest.labels import DatasetLabels, MaskClass, encode_labels
from factory.manifest.measure import Measures
from factory.manifest.paths import LABELS_PATH, receipt_path
from factory.manifest.records import ShardRecord, encode_record
from factory.plan.rounds import Round

PER_SHARD = 250
PATHS = ("/v1/summary", "/v1/coverage", "/v1/rounds", "/metrics")


def make_dataset(folder: Path, num_shards: int) -> None:
    rng = np.random.default_rng(0)
    round_ = Round(
        dataset_id="0" * 16,
        name="million",
        round_index=0,
        first_shard=0,
        first_index=0,
        num_samples=num_shards * PER_SHARD,
        samples_per_shard=PER_SHARD,
        oversample=1.0,
        identity={},
    )
    (folder / "plan").mkdir(parents=True)
    (folder / "plan/round-0000.json").write_text(round_.model_dump_json())
    labels = [MaskClass(id=k, name=f"class_{k}", colour=(40 * k, 90, 200)) for k in range(5)]
    names = [f"type_{k}" for k in range(5)]
    meaning = DatasetLabels(labels=labels, generator_classes=names, attribution="", license="")
    (folder / LABELS_PATH).write_bytes(encode_labels(meaning))
    (folder / "receipts/0000").mkdir(parents=True)
    for index in range(num_shards):
        record = a_record(index, rng)
        (folder / receipt_path(0, index)).write_bytes(encode_record(record))


def a_record(index: int, rng: np.random.Generator) -> ShardRecord:
    px = rng.multinomial(4096, [0.5, 0.2, 0.15, 0.1, 0.05], PER_SHARD)
    confidence = rng.beta(8, 8, PER_SHARD)
    hashes = rng.integers(0, 2**63, PER_SHARD)
    measures = [
        Measures(
            sharpness=float(rng.gamma(4, 400)),
            border=float(rng.beta(2, 20)),
            dhash=f"{h:016x}",
            latent_cell=int(h % 256),
        )
        for h in hashes
    ]
    return ShardRecord(
        dataset_id="0" * 16,
        round_index=0,
        shard_index=index,
        path=f"data/train/{shard_name('million', index)}.tar",
        first_index=index * PER_SHARD,
        num_indices=PER_SHARD,
        num_samples=PER_SHARD,
        num_rejected={},
        num_members=3 * PER_SHARD,
        size_bytes=3_000_000,
        sha256="ab" * 32,
        class_images=(px > 0).sum(axis=0).tolist(),
        class_px=px.sum(axis=0).tolist(),
        confidence=np.quantile(confidence, [0, 0.05, 0.5, 0.95, 1]).round(6).tolist(),
        wall_s=1.0,
        generate_s=0.9,
        device="cpu",
        worker="host/1",
        run_id="run",
        versions={"torch": "2"},
        finished_at=f"2026-01-01T{index // 3600:02d}:{index // 60 % 60:02d}:{index % 60:02d}+00:00",
        coverage=cover_samples(
            (np.arange(PER_SHARD) % 5).tolist(),
            px.tolist(),
            [4096] * PER_SHARD,
            confidence.tolist(),
            measures,
            rejected={},
            num_generator_classes=5,
        ),
    )


def poll(port: int, seconds: float, times: list[float], failures: list[str]) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        for path in PATHS:
            started = time.monotonic()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            times.append(time.monotonic() - started)
            if response.status != 200:
                failures.append(f"{path} {response.status}")
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "million"
        make_dataset(folder, given.shards)
        service = subprocess.Popen(
            [sys.executable, "-m", "factory", "serve", str(folder), "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert service.stdout is not None
        port = int(re.findall(r":(\d+)/", service.stdout.readline())[0])
        process = psutil.Process(service.pid)
        started = time.monotonic()
        first = HTTPConnection("127.0.0.1", port, timeout=300)
        first.request("GET", "/v1/summary")
        summary = json.loads(first.getresponse().read())
        seconds = time.monotonic() - started
        print(f"first answer after {seconds:.1f} s: {summary['samples_committed']:,} samples")
        times: list[float] = []
        failures: list[str] = []
        team = [
            threading.Thread(target=poll, args=(port, given.seconds, times, failures))
            for _ in range(given.clients)
        ]
        cpu_before = sum(process.cpu_times()[:2])
        for thread in team:
            thread.start()
        peak = 0
        while any(thread.is_alive() for thread in team):
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.2)
        cpu = (sum(process.cpu_times()[:2]) - cpu_before) / given.seconds
        p50, p99, most = (1000 * float(np.quantile(times, q)) for q in (0.5, 0.99, 1))
        print(
            f"{given.clients} clients, {len(times):,} answers, {len(times) / given.seconds:.0f}/s: "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {most:.0f} ms; {len(failures)} failures; "
            f"peak memory {peak / 2**20:.0f} MiB; {cpu:.2f} cores"
        )
        service.terminate()
        service.wait(30)


if __name__ == "__main__":
    main()
