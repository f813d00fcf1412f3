"""`python -m tests.fault.chaos --kills 200`: kill everything, at random times, and look what is left.

A trial makes one dataset. While it is being made, its target is killed with SIGKILL at random times;
the job is run again until it says that it is whole. Then every byte is read back, every sample decoded,
and every digest held against those of a run that nobody disturbed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from servers import Weed, s3_env  # noqa: E402 - beside this file

TARGETS = [
    ("driver", "local"),
    ("worker", "local"),
    ("raylet", "local"),
    ("driver", "s3"),
    ("worker", "s3"),
    ("store", "s3"),
    ("raylet", "s3"),
]
NUM_SHARDS, PER_SHARD = 12, 8
LIMIT_S = 900


@dataclass
class Counts:
    """What all trials found together."""

    trials: int = 0
    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    different: int = 0
    problems: list[str] = field(default_factory=list)
    quarantined: int = 0

    def line(self) -> str:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kills}) in {self.runs} runs of {self.trials} trials: "
            f"{self.lost} lost, {self.doubled} doubled, {self.different} different, "
            f"{len(self.problems)} problems found by verify --deep, {self.quarantined} quarantined"
        )


class Nodes:
    """Three Ray nodes on this machine: a head without workers, and two that can be killed."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, **self._small()}
        )
        self.nodes = [self._add(), self._add()]

    @staticmethod
    def _small() -> dict[str, Any]:
        return {"object_store_memory": 80 * 2**20, "include_dashboard": False}

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)

    def kill_one(self, rng: random.Random) -> bool:
        """Kill a raylet, and let a new node join."""
        node = self.nodes.pop(rng.randrange(len(self.nodes)))
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self.nodes.append(self._add())
        return True

    def drain(self, node: Any, seconds: float) -> None:
        """Tell a node that its machine will be taken away, as a cloud does."""
        import ray
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + seconds) * 1000)
        client = vars(ray._private.worker)["global_worker"].gcs_client
        client.drain_node(node.node_id, reason, "for a test", deadline_ms)
        ray.shutdown()

    def replace(self, node: Any) -> None:
        """Take a node away and let a new one join."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self._add())

    def close(self) -> None:
        self.cluster.shutdown()


class Chaos:
    """A folder, its servers, and the trials in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.counts = Counts()
        self.weed: Weed | None = None
        self.nodes: Nodes | None = None
        self.cue = folder / "cue"
        self.expected: dict[str, str] = {}
        self.log_begin = 0

    def job(self, name: str, uri: str, run: dict[str, Any]) -> Path:
        segmenter = {"kind": "kmeans", "num_clusters": 4}
        document = {
            "name": "toy",
            "dataset": {
                "num_samples": NUM_SHARDS * PER_SHARD,
                "samples_per_shard": PER_SHARD,
                "batch_size": 4,
                "generator": {"kind": "mortal:Slow"},
                "segmenter": segmenter | {"fit": {"num_images": 16, "pixels_per_image": 64}},
            },
            "run": run,
            "output": {"uri": uri},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def start(self, job: Path) -> "subprocess.Popen[str]":
        self.counts.runs += 1
        env = s3_env(self.weed.endpoint) if self.weed else {}
        log = self.folder / "log"
        self.log_begin = log.stat().st_size if log.exists() else 0
        with log.open("a") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "factory", "run", str(job)],
                cwd=HERE,
                env=os.environ | env,
                stdout=file,
                stderr=file,
                text=True,
            )

    def prepare(self, places: set[str]) -> None:
        """The undisturbed run, and the servers that the trials need."""
        (self.folder / "t").mkdir()
        os.environ["FACTORY_TEST_CUE"] = str(self.cue)  # Ray's nodes give theirs to the workers
        os.environ["XDG_CACHE_HOME"] = str(self.folder / "cache")
        os.environ["TMPDIR"] = str(self.folder / "t")
        job = self.job("calm", str(self.folder / "calm"), {"executor": "inline"})
        assert self.start(job).wait(LIMIT_S) == 0, (self.folder / "log").read_text()[-3000:]
        self.cue.touch()  # from now on, shards take a while
        self.expected = self.look(str(self.folder / "calm"))
        assert len(self.expected) == NUM_SHARDS
        if "s3" in places:
            self.weed = Weed(self.folder / "weed")
            self.weed.start()
            os.environ.update(s3_env(self.weed.endpoint))

    def look(self, uri: str) -> dict[str, str]:
        """Verify a dataset deeply; digests of its shards by path."""
        from factory.care.verify import verify_dataset
        from factory.dataset.state import find_state
        from factory.store import open_store

        store = open_store(uri)
        findings = verify_dataset(store, deep=True)
        self.counts.problems += [f"{uri}: {problem}" for problem in findings.problems]
        records = find_state(store).records
        indices = Counter(record.shard_index for record in records)
        self.counts.doubled += sum(count - 1 for count in indices.values())
        self.counts.doubled += len(set(store.names("data")) - {r.path for r in records})
        return {record.path: record.sha256 for record in records}

    def trial(self, target: str, place: str, num_kills: int) -> None:
        """Make one dataset while `target` is killed `num_kills` times; count what is wrong with it."""
        self.counts.trials += 1
        name = f"trial-{self.counts.trials:03d}"
        uri = f"s3://bucket/{name}" if place == "s3" else str(self.folder / name)
        job = self.job(name, uri, self.run_settings(target))
        left = num_kills
        for _ in range(20):
            process = self.start(job)
            left -= self.disturb(process, target, left)
            code = process.wait(LIMIT_S)
            if code == 5:
                self.counts.quarantined += 1
                words = [sys.executable, "-m", "factory", "quarantine", "retry", uri]
                subprocess.run(words, cwd=HERE, check=True, capture_output=True)
            if code == 0:
                break
        else:
            self.counts.problems.append(f"{uri}: never finished; see {self.folder / 'log'}")
        found = self.look(uri)
        self.counts.lost += len(self.expected.keys() - found.keys())
        self.counts.different += sum(self.expected.get(p) != found[p] for p in found)

    def run_settings(self, target: str) -> dict[str, Any]:
        if target == "raylet":
            self.nodes = self.nodes or Nodes()
            return {"executor": "ray", "address": self.nodes.address}
        if target == "worker":
            return {"executor": "ray", "num_actors": 2}
        return {"executor": "inline"}

    def disturb(self, process: "subprocess.Popen[str]", target: str, num_kills: int) -> int:
        """Kill `target` up to `num_kills` times while `process` runs; how often it was."""
        done = 0
        before = set(workers_of(os.getpid()))  # of an earlier run, on their way out
        while done < num_kills:
            if target in ("worker", "raylet"):
                self.wait_until(process, lambda: not before.issuperset(workers_of(os.getpid())))
            elif self.rng.random() < 0.7:  # the others come while it still loads
                self.wait_until(process, lambda: b"run_started" in self.log_of_this_run())
            pause = self.rng.uniform(0, 4)
            try:
                process.wait(pause)
                return done
            except subprocess.TimeoutExpired:
                pass
            if not self.kill(process, target):
                continue
            done += 1
            self.counts.kills[target] += 1
            if target == "driver":
                return done
        return done

    def wait_until(self, process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
        while process.poll() is None and not condition():
            time.sleep(0.1)

    def log_of_this_run(self) -> bytes:
        with (self.folder / "log").open("rb") as log:
            log.seek(self.log_begin)
            return log.read()

    def kill(self, process: "subprocess.Popen[str]", target: str) -> bool:
        if target == "driver":
            process.kill()
            process.wait()
            return True
        if target == "worker":
            found = workers_of(process.pid)
            if not found:
                return False
            os.kill(self.rng.choice(found), signal.SIGKILL)
            return True
        if target == "raylet":
            assert self.nodes is not None
            return self.nodes.kill_one(self.rng)
        assert self.weed is not None
        self.weed.kill()
        time.sleep(self.rng.uniform(0, 2))
        self.weed.start()
        return True

    def close(self) -> None:
        if self.weed is not None:
            self.weed.kill()
        if self.nodes is not None:
            self.nodes.close()


def workers_of(parent: int) -> list[int]:
    """The processes of actors below `parent`: a driver, or whoever started the nodes."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children(recursive=True):
            with suppress(psutil.Error):  # it is gone, or a zombie
                found += [child.pid] if "ray::_Worker" in " ".join(child.cmdline()) else []
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-trial", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no trial after this time")
    parser.add_argument("--targets", default="", help="such as driver-local,store-s3; default: all")
    options = parser.parse_args()
    wanted = options.targets.split(",") if options.targets else []
    targets = [pair for pair in TARGETS if not wanted or "-".join(pair) in wanted]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        chaos = Chaos(Path(folder), options.seed)
        try:
            chaos.prepare({place for _, place in targets})
            while chaos.counts.kills.total() < options.kills:
                if time.monotonic() - begun > options.minutes * 60:
                    break
                target, place = targets[chaos.counts.trials % len(targets)]
                left = options.kills - chaos.counts.kills.total()
                chaos.trial(target, place, min(options.per_trial, left))
                print(f"{target} x {place}: {chaos.counts.line()}", flush=True)
        finally:
            chaos.close()
    counts = chaos.counts
    print(json.dumps({**vars(counts), "kills": dict(counts.kills)}, indent=1))
    return int(bool(counts.lost or counts.doubled or counts.different or counts.problems))


if __name__ == "__main__":
    sys.exit(main())
