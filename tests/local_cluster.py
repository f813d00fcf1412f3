"""A Ray cluster of one host with a dashboard, which is what `ray job submit` talks to."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("aiohttp", reason="needs ray[default]: pip install 'maskfactory[cluster]'")
from ray.job_submission import JobSubmissionClient

LIMIT_S = 400
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ray(*arguments, check=True, **environment):
    command = [str(Path(sys.executable).parent / "ray"), *arguments]
    env = os.environ | ENVIRONMENT | environment
    return subprocess.run(
        command, env=env, capture_output=True, text=True, check=check, timeout=LIMIT_S
    )


class LocalCluster:
    """One host with a dashboard, which is what `ray job submit` talks to."""

    def __init__(self, *options, **environment):
        self.folder = tempfile.mkdtemp(prefix="mfn", dir="/tmp")
        self.port, self.dashboard = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block",
            *(options or ["--num-cpus=2"]),
            f"--port={self.port}", f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={free_port()}",
            "--object-store-memory=134217728", f"--temp-dir={self.folder}", "--min-worker-port=0",
            "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}",
            "--node-ip-address=127.0.0.1",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            env=os.environ | ENVIRONMENT | environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers, "a dashboard")

    def _answers(self):
        assert self.process.poll() is None, "the cluster did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.dashboard)):
                return False
        return ray("job", "list", "--address", self.url, check=False).returncode == 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.dashboard}"

    def submit(self, name, *command):
        """Start a command as a job of this name, and come back at once."""
        words = ["--no-wait", "--address", self.url, "--submission-id", name, "--", *command]
        ray("job", "submit", *words)

    def wait(self, name):
        client = JobSubmissionClient(self.url)
        wait_for(lambda: client.get_job_status(name).is_terminal(), f"the end of {name}")
        return str(client.get_job_status(name)), client.get_job_logs(name)

    def end(self):
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        self.process.wait(60)
        _, alive = psutil.wait_procs(children, timeout=20)
        for process in alive:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, what):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"no {what} after {LIMIT_S} s"
        time.sleep(0.2)
