"""Real runs in processes of their own, to be killed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


@dataclass
class Lab:
    """A folder for one experiment, with commands run as a user would."""

    folder: Path

    @property
    def cue(self) -> Path:
        return self.folder / "cue"

    def job(self, output: str, kind: str = "mortal:Mortal", **run: Any) -> Path:
        """A job of 96 toy pairs in 6 shards."""
        document = {
            "name": "toy",
            "dataset": {
                "num_samples": 96,
                "samples_per_shard": 16,
                "batch_size": 6,
                "generator": {"kind": kind},
                "segmenter": {
                    "kind": "kmeans",
                    "num_clusters": 4,
                    "fit": {"num_images": 16, "pixels_per_image": 64},
                },
            },
            "run": run,
            "output": {"uri": str(self.folder / output)},
        }
        return self.write_job(document)

    def write_job(self, document: dict[str, Any]) -> Path:
        name = Path(document["output"]["uri"]).name
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def start(self, *words: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "factory", *words],
            cwd=HERE,
            env=os.environ
            | {"FACTORY_TEST_CUE": str(self.cue), "XDG_CACHE_HOME": str(self.folder / "cache")}
            | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def must_run(self, *words: str, **env: str) -> str:
        result = self.run(*words, **env)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def digests(self, output: str) -> dict[str, str]:
        """SHA-256 of every committed shard, by path, as the receipts state them."""
        receipts = sorted((self.folder / output / "receipts").rglob("*.json"))
        records = [json.loads(path.read_text()) for path in receipts]
        return {record["path"]: record["sha256"] for record in records}
