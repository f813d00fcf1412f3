"""Pairs per second of `factory run` against a bare generator loop and against two other ways.

    python tests/bench/throughput.py [--samples 12000] [--skip-ray-data]

All contenders make the same pairs of the shipped generator (float32, batch 8, one thread per
process, tuned allocator) in one run, in shards of the default size. "steady" leaves out start and end:
for the factory it is the rate from its first commit to the last one behind which it still computes. The
bare loop is the generator alone: no masks, no files. It and the factory's actors take turns of two
seconds, one stopped while the others run: the clock of a machine drifts by tens of per cent within
minutes.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

BATCH = 8
TURN_S = 2.0
JOB: dict[str, Any] = {
    "name": "bench",
    "dataset": {
        "samples_per_shard": 1000,
        "batch_size": BATCH,
        "generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
        "latents": {"truncation_psi": 0.8},
        "segmenter": {"kind": "kmeans", "num_clusters": 5, "layers": ["b64.conv0", "b64.conv1"]},
    },
}


class Kit:
    """Generator, segmenter and sampler of the benchmark's job, as a worker would load them."""

    def __init__(self, folder: Path) -> None:
        from factory.run.worker import configure_process

        configure_process()
        import torch

        from factory.fit.fitted import find_fitted, fit_segmenter
        from factory.generate.base import load_generator
        from factory.generate.latents import LatentSampler
        from factory.generate.weights.find import find_weights
        from factory.segment.base import load_segmenter
        from factory.spec.read import check_job

        document = {**JOB, "dataset": {**JOB["dataset"], "num_samples": 1}, "output": {"uri": "x"}}
        self.dataset = check_job(document, source="bench").dataset
        device = torch.device("cpu")
        weights = find_weights(self.dataset.generator)
        self.generator = load_generator(self.dataset.generator, weights.path, device=device)
        fitted = find_fitted(self.dataset, weights.sha256) or fit_segmenter(
            self.dataset, weights, device=device, on_progress=lambda *_: None
        )
        path = folder / f"segmenter-{os.getpid()}"
        path.write_bytes(fitted)
        self.segmenter = load_segmenter(self.dataset.segmenter, path, self.generator.facts, device)
        self.sampler = LatentSampler(self.generator, self.dataset.latents, self.dataset.generator)

    def forward(self, first: int) -> None:
        import torch

        with torch.inference_mode():
            self.generator.generate(self.sampler.draw(range(first, first + BATCH)), ())

    def files(self, first: int) -> list[dict[str, Any]]:
        """The same pairs, encoded the same way, one after the other."""
        from factory.make.compute import compute_samples
        from factory.pack.packing import encode_sample

        latents = self.sampler.draw(range(first, first + BATCH))
        samples = compute_samples(self.generator, self.segmenter, latents, BATCH)
        names = self.generator.facts.class_names
        encoded = [
            encode_sample(s, self.dataset.encode, dataset_id="0" * 16, class_names=names)
            for s in samples
        ]
        return [{"__key__": e.facts.key, **dict(e.files)} for e in encoded]


def bare_loop(folder: Path, done: Any) -> None:
    """Count images in `done` until this process is killed."""
    kit = Kit(folder)
    while True:
        kit.forward(done.value)
        done.value += BATCH


class Turns(threading.Thread):
    """Lets bare loops and the factory's actors run in turns, and keeps when each of them ran."""

    def __init__(self, folder: Path, processes: int) -> None:
        super().__init__()
        context = multiprocessing.get_context("spawn")
        self._counts = [context.Value("q", 0, lock=False) for _ in range(processes)]
        self._team = [
            context.Process(target=bare_loop, args=(folder, count), daemon=True)
            for count in self._counts
        ]
        for process in self._team:
            process.start()
        while any(count.value < 10 * BATCH for count in self._counts):
            time.sleep(0.1)
        self._bare = [psutil.Process(process.pid) for process in self._team]
        self._actors: list[psutil.Process] = []
        self.bare_s = self.bare_images = 0.0
        self.factory_turns: list[tuple[float, float]] = []
        self._done = threading.Event()
        for process in self._bare:
            process.suspend()

    def begin(self, actors: list[psutil.Process]) -> None:
        self._actors = actors
        self.start()

    def run(self) -> None:
        while not self._done.is_set():
            begun = time.monotonic()
            self._done.wait(TURN_S)
            for process in self._actors:
                process.suspend()
            self.factory_turns.append((begun, time.monotonic()))
            self._let_bare_run()
            for process in self._actors:
                process.resume()

    def _let_bare_run(self) -> None:
        before, begun = sum(count.value for count in self._counts), time.monotonic()
        for process in self._bare:
            process.resume()
        time.sleep(TURN_S)
        for process in self._bare:
            process.suspend()
        self.bare_s += time.monotonic() - begun
        self.bare_images += sum(count.value for count in self._counts) - before

    def finish(self) -> None:
        self._done.set()
        self.join()
        for process in self._team:
            process.kill()

    def factory_s(self, first: float, last: float) -> float:
        """Seconds in which the actors ran between two times."""
        return sum(max(0, min(end, last) - max(begun, first)) for begun, end in self.factory_turns)


def find_actors(process: psutil.Process) -> list[psutil.Process]:
    children = process.children(recursive=True)
    return [child for child in children if "ray::_Worker" in " ".join(child.cmdline())]


def watch_memory(process: psutil.Process, peaks: dict[str, float], done: threading.Event) -> None:
    """Peak resident MiB of the driver and of the largest actor."""
    # Looking at all processes takes a core's time, which is the factory's.
    while not done.wait(2):
        try:
            peaks["driver"] = max(peaks["driver"], process.memory_info().rss / 2**20)
            for child in process.children(recursive=True):
                if "ray::" in " ".join(child.cmdline()):
                    peaks["actor"] = max(peaks["actor"], child.memory_info().rss / 2**20)
        except psutil.Error:
            continue


def factory(folder: Path, samples: int, actors: int, turns: Turns) -> dict[str, float]:
    output = folder / f"factory-{actors}"
    document = {
        **JOB,
        "dataset": {**JOB["dataset"], "num_samples": samples},
        "run": {"executor": "ray", "num_actors": actors},
        "output": {"uri": str(output)},
    }
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(document))
    process = subprocess.Popen(
        [sys.executable, "-m", "factory", "run", str(job)], stderr=subprocess.PIPE, text=True
    )
    peaks, done = {"driver": 0.0, "actor": 0.0}, threading.Event()
    watcher = threading.Thread(target=watch_memory, args=(psutil.Process(process.pid), peaks, done))
    watcher.start()
    lines, commits, size = [], [], JOB["dataset"]["samples_per_shard"]
    for line in process.stderr or ():
        lines.append(line)
        if "shard_committed" not in line:
            continue
        commits.append(time.monotonic())
        if len(commits) == actors:
            turns.begin(find_actors(psutil.Process(process.pid)))
        if len(commits) == samples // size - actors:
            turns.finish()
    if process.wait() != 0:
        raise SystemExit("".join(lines))
    done.set()
    watcher.join()
    full = commits[actors - 1 : len(commits) - actors]
    steady = (len(full) - 1) * size / turns.factory_s(full[0], full[-1])
    shutil.rmtree(output)
    return {"steady": steady, **peaks}


def shard_writer(folder: Path, samples: int) -> float:
    """One process, one thread, `webdataset.ShardWriter`."""
    code = (
        "import sys, time, pathlib; sys.path.insert(0, sys.argv[1]); import throughput as t\n"
        "import webdataset as wds\n"
        "folder = pathlib.Path(sys.argv[2]); kit = t.Kit(folder); kit.files(0)\n"
        "start = time.monotonic()\n"
        "with wds.ShardWriter(str(folder / 'wds-%06d.tar'), maxcount=500, encoder=False, verbose=0)"
        " as sink:\n"
        "    for first in range(0, int(sys.argv[3]), t.BATCH):\n"
        "        for sample in kit.files(first): sink.write(sample)\n"
        "print(int(sys.argv[3]) / (time.monotonic() - start))\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder), str(samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ray_data(folder: Path, samples: int) -> dict[str, float]:
    """Ray Data: an actor pool of two over index batches, then `write_webdataset`."""
    code = (
        "import sys, time, os, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "os.environ['PYTHONPATH'] = sys.argv[1]\n"
        "import ray, ray.data, numpy as np\n"
        "folder = pathlib.Path(sys.argv[2]); n = int(sys.argv[3])\n"
        "class Make:\n"
        "    def __init__(self):\n"
        "        import throughput; self.kit = throughput.Kit(folder)\n"
        "    def __call__(self, batch):\n"
        "        rows = self.kit.files(int(batch['id'][0]))\n"
        "        return {k: np.array([r[k] for r in rows], dtype=object) for k in rows[0]}\n"
        "ray.init(address='local', num_cpus=4, include_dashboard=False, log_to_driver=False)\n"
        "ray.data.DataContext.get_current().enable_progress_bars = False\n"
        "data = ray.data.range(n, override_num_blocks=n // 500)\n"
        "data = data.map_batches(Make, batch_size=8, concurrency=2)\n"
        "data.write_webdataset(str(folder / 'raydata'), encoder=None)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder), str(samples)]
    started = time.monotonic()
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr[-2000:])
    return {"wall": samples / (time.monotonic() - started)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--skip-ray-data", action="store_true")
    options = parser.parse_args()
    print(f"{options.samples} pairs, 64 px, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Kit(folder)
        for actors in (1, 2):
            turns = Turns(folder, actors)
            made = factory(folder, options.samples, actors, turns)
            loop = turns.bare_images / turns.bare_s
            print(f"bare loop, {actors} x 1 thread     {loop:8.1f} images/s")
            print(
                f"factory run, {actors} actor(s)       {made['steady']:8.1f} pairs/s steady; "
                f"{made['steady'] / loop:.3f} of the bare loop; "
                f"peak driver {made['driver']:.0f} MiB, actor {made['actor']:.0f} MiB"
            )
        print(
            f"webdataset.ShardWriter loop    {shard_writer(folder, options.samples // 4):8.1f} pairs/s"
        )
        if not options.skip_ray_data:
            other = ray_data(folder, options.samples)
            print(f"Ray Data, 2 actors             {other['wall']:8.1f} pairs/s with start-up")


if __name__ == "__main__":
    main()
