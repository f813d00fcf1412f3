"""What committing costs: `python tests/bench/commit.py [--commits 500] [--big 1000000]`.

- commits per second of one thread and of eight, on a local folder and on SeaweedFS, beside
  webdataset's ShardWriter for the same bytes (locally, and with an upload of each shard to the same
  server), which promises nothing;
- time to find out what is done, at 10,000 and at a million receipts, with snapshots and without;
- driver CPU and memory with 1,000 workers that exist only in memory.

All numbers of a table come from one run, one after the other.
"""

import argparse
import heapq
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fault")]

import boto3  # noqa: E402 - after the paths
import webdataset as wds  # noqa: E402
from servers import Weed, s3_env  # noqa: E402

import factory.dataset.receipts  # noqa: E402
from factory.data import ShardTask  # noqa: E402
from factory.dataset.quarantine import Attempts  # noqa: E402
from factory.dataset.receipts import BLOCK, find_committed, path_of_block  # noqa: E402
from factory.make.commit import Origin, commit_shard, make_record  # noqa: E402
from factory.manifest.paths import receipt_path  # noqa: E402
from factory.manifest.records import ShardRecord, encode_record  # noqa: E402
from factory.manifest.table import encode_snapshot  # noqa: E402
from factory.pack.facts import SampleFacts  # noqa: E402
from factory.pack.tar import ShardWriter  # noqa: E402
from factory.plan.rounds import Plan, Round  # noqa: E402
from factory.run.drive import drive  # noqa: E402
from factory.run.fleet import CallCompleted, ElasticFleet, Event, WorkerReady  # noqa: E402
from factory.spec import RunSpec  # noqa: E402
from factory.store import LocalStore, Store, open_store  # noqa: E402

PAIRS, IMAGE_BYTES, MASK_BYTES = 16, 12_000, 700


def task_of(index: int) -> ShardTask:
    return ShardTask(
        dataset_id="bench",
        name=f"bench-{index:06d}",
        round_index=0,
        shard_index=index,
        first_index=index * PAIRS,
        num_indices=PAIRS,
        num_samples=PAIRS,
    )


def facts_of(index: int) -> SampleFacts:
    return SampleFacts(
        key=f"{index:09d}", index=index, dataset_id="bench", class_label=-1, class_name="",
        confidence=0.5, width=64, height=64, class_px=[4096], ignore_px=0,
    )  # fmt: skip


def files_of(index: int) -> list[tuple[str, bytes]]:
    key, noise = f"{index:09d}", os.urandom(64)
    image = (noise * (IMAGE_BYTES // 64 + 1))[:IMAGE_BYTES]
    facts = facts_of(index).model_dump_json().encode()
    return [
        (f"{key}.image.png", image),
        (f"{key}.mask.png", image[:MASK_BYTES]),
        (f"{key}.json", facts),
    ]


MAKING = Origin("bench", 1.0, 1.0, "a processor", {}, {"python": "3"})


def commit_ours(store: Store, index: int) -> None:
    """What a worker does with a shard once its samples are encoded."""
    task = task_of(index)
    path = store.work_folder("bench") / f"{task.name}.tar"
    with ShardWriter(path) as writer:
        for sample in range(PAIRS):
            writer.add(files_of(index * PAIRS + sample))
        packed = writer.finish()
    rows = [facts_of(index * PAIRS + sample) for sample in range(PAIRS)]
    commit_shard(store, task, path, make_record(task, rows, packed, MAKING), rows)


def commit_theirs(folder: Path, upload: Callable[[Path], None] | None, index: int) -> None:
    """The same files by webdataset's writer, uploaded afterwards if asked."""
    path = folder / f"wds-{index:06d}.tar"
    with wds.TarWriter(str(path), encoder=False) as writer:
        for sample in range(PAIRS):
            files = files_of(index * PAIRS + sample)
            key = files[0][0].partition(".")[0]
            rest = {name.partition(".")[2]: data for name, data in files}
            writer.write({"__key__": key, **rest})
    if upload:
        upload(path)
        path.unlink()


def rate(count: int, threads: int, work: Callable[[int], None], first: int) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(first, first + count)))
    return count / (time.perf_counter() - begun)


def bench_commits(folder: Path, weed: Weed, count: int) -> None:
    print(f"\ncommits/s ({PAIRS} pairs, {PAIRS * (IMAGE_BYTES + MASK_BYTES) / 1e3:.0f} kB a shard)")
    print(f"{'':<34}{'1 thread':>10}{'8 threads':>11}")
    client = boto3.client("s3")

    def upload(path: Path) -> None:
        client.upload_file(str(path), "bucket", f"wds/{path.name}")

    local, bucket = LocalStore(str(folder / "local")), open_store("s3://bucket/ours")
    theirs = folder / "wds"
    theirs.mkdir()
    rows: list[tuple[str, Callable[[int], None]]] = [
        ("local: this factory", lambda i: commit_ours(local, i)),
        ("local: webdataset, no promise", lambda i: commit_theirs(theirs, None, i)),
        ("s3: this factory", lambda i: commit_ours(bucket, i)),
        ("s3: webdataset + upload_file", lambda i: commit_theirs(theirs, upload, i)),
    ]
    for name, work in rows:
        work(999_999)  # the probe of the store, and imports
        one = rate(count // 4, 1, work, 0)
        eight = rate(count, 8, work, count)
        print(f"{name:<34}{one:>10.1f}{eight:>11.1f}", flush=True)


def bench_resume(folder: Path, weed: Weed, sizes: list[int], on_s3: int) -> None:
    print("\nseconds to find out what is done")
    print(f"{'receipts':<34}{'snapshots':>10}{'without':>11}")
    record = make_record(task_of(0), [facts_of(0)], _packed(), MAKING)
    for size in sizes:
        store = LocalStore(str(folder / f"resume-{size}"))
        fill_local(store, record, size)
        time_resume(f"local {size:,}", store, size)
        shutil.rmtree(store.root)
    bucket = open_store("s3://bucket/resume")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: put(bucket, record, i), range(on_s3)))
    snapshots(bucket, record, on_s3)
    time_resume(f"s3 {on_s3:,}", bucket, on_s3)


def time_resume(name: str, store: Store, size: int) -> None:
    plan = Plan("bench", (round_of(size),))
    times = []
    for with_snapshots in (True, False):
        if not with_snapshots:
            for path in store.names("snapshots"):
                store.remove(path)
            if size > 100_000:
                times.append(float("nan"))
                continue
        begun = time.perf_counter()
        done = find_committed(store, plan)
        times.append(time.perf_counter() - begun)
        assert len(done.indices) == size, len(done.indices)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<34}{times[0]:>10.2f}{times[1]:>11.2f}   (peak {peak:,.0f} MB)", flush=True)


def round_of(size: int) -> Round:
    return Round(
        dataset_id="bench", name="bench", round_index=0, first_shard=0, first_index=0,
        num_samples=size * PAIRS, samples_per_shard=PAIRS, oversample=1.0, identity={},
    )  # fmt: skip


def _packed() -> factory.commit.PackedShard:
    return factory.commit.PackedShard(100_000, "0" * 64, 3 * PAIRS)


def numbered(record: ShardRecord, index: int) -> ShardRecord:
    return record.model_copy(update={"shard_index": index, "num_samples": PAIRS})


def put(store: Store, record: ShardRecord, index: int) -> None:
    store.create(receipt_path(0, index), encode_record(numbered(record, index)))


def fill_local(store: LocalStore, record: ShardRecord, size: int) -> None:
    """Receipts as fast as files can be made: written without the care of a commit."""
    folder = store.root / "receipts/0000"
    folder.mkdir(parents=True)
    text = encode_record(numbered(record, 0)).decode()
    head, tail = text.split('"shard_index": 0')
    for index in range(size):
        (folder / f"{index:06d}.json").write_text(f'{head}"shard_index": {index}{tail}')
    snapshots(store, record, size)


def snapshots(store: Store, record: ShardRecord, size: int) -> None:
    for block in range(size // BLOCK):
        indices = range(block * BLOCK, (block + 1) * BLOCK)
        store.create(
            path_of_block(block), encode_snapshot([numbered(record, index) for index in indices])
        )


class Simulated:
    """Workers that make one shard after the other, each in about `num_workers / per_s` seconds."""

    def __init__(self, num_workers: int, per_s: float) -> None:
        self.num_workers = num_workers
        self.seconds = num_workers / per_s
        self.rng = random.Random(0)
        self.busy_until: dict[int, float] = {}
        self.flying: list[tuple[float, int, int]] = []
        self.events_now: list[Event] = []
        self.record = make_record(task_of(0), [facts_of(0)], _packed(), MAKING)

    def capacity(self) -> int:
        return self.num_workers

    def start(self) -> int:
        name = len(self.busy_until)
        self.busy_until[name] = 0.0
        self.events_now.append(WorkerReady(name, "node"))
        return name

    def assign(self, worker: int, task: ShardTask) -> None:
        begins = max(self.busy_until[worker], time.monotonic())
        self.busy_until[worker] = begins + self.seconds * self.rng.uniform(0.5, 1.5)
        heapq.heappush(self.flying, (self.busy_until[worker], worker, task.shard_index))

    def kill(self, worker: int) -> None:
        pass

    def draining_nodes(self) -> dict[str, float]:
        return {}

    def events(self, timeout_s: float) -> list[Event]:
        found, self.events_now = self.events_now, []
        if self.flying and not found:
            time.sleep(max(0.0, min(self.flying[0][0] - time.monotonic(), timeout_s)))
        while self.flying and self.flying[0][0] <= time.monotonic():
            _, worker, shard_index = heapq.heappop(self.flying)
            found.append(CallCompleted(worker, shard_index, numbered(self.record, shard_index)))
        return found


class Nobody:
    """An observer who does not look."""

    def started(self, num_samples: int, num_done: int) -> None:
        pass

    def committed(self, record: ShardRecord) -> None:
        pass

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        pass


def bench_driver(folder: Path, num_workers: int, per_s: float, seconds: float) -> None:
    store = LocalStore(str(folder / "driver"))
    tasks = [task_of(index) for index in range(int(per_s * seconds))]
    fleet = ElasticFleet(Simulated(num_workers, per_s), RunSpec())
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    drive(tasks, fleet, Nobody(), threading.Event(), Attempts(store, "bench"))
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"\ndriver with {num_workers:,} simulated workers: {len(tasks) / wall:.0f} shards/s, "
        f"{cpu / wall:.1%} of a core, {cpu / len(tasks) * 1e3:.2f} ms a shard (Ray's own not "
        f"included), {(after.ru_maxrss - before.ru_maxrss) / 1024:.0f} MB more"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=400)
    parser.add_argument("--big", type=int, default=1_000_000)
    parser.add_argument("--on-s3", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        bench_driver(folder, 1000, per_s=100, seconds=60)
        weed = Weed(folder / "weed")
        weed.start()
        os.environ.update(s3_env(weed.endpoint))
        try:
            bench_commits(folder, weed, options.commits)
            bench_resume(folder, weed, [10_000, options.big], options.on_s3)
        finally:
            weed.kill()


if __name__ == "__main__":
    main()
