"""The batch script, run with stand-ins for Slurm, Ray and `factory`: exit codes, signals, ports."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from manifests import DEPLOY

SCRIPT = DEPLOY / "slurm" / "run.sbatch"
STAND_INS = {
    "python3": 'exit "$WITHOUT_CLIENT"',  # whether Ray's client can be imported
    # Runs the command after its options, here.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then printf "node1\\nnode2\\n"; '
    'else echo "scontrol $*" >>"$LOG"; fi',
    # Answers when all nodes are there.
    "ray": 'echo "ray $*" >>"$LOG"; echo "token $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >>"$LOG"; '
    'if [ "$1" = start ]; then trap "exit 0" TERM; '
    "while :; do sleep 0.05; done; fi; "
    '[ "$(grep -c "ray start" "$LOG")" -ge "$SLURM_JOB_NUM_NODES" ]',
    "factory": 'echo "factory $* at $RAY_ADDRESS" >>"$LOG"; '
    'echo "token $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >>"$LOG"; if [ "$CODE" = wait ]; then '
    'trap "exit 75" TERM; echo ready >>"$LOG"; while :; do sleep 0.05; done; fi; exit "$CODE"',
}


@pytest.fixture
def batch(tmp_path):
    """Starts the script; returns the process and the file in which the stand-ins write."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    log = tmp_path / "log"
    log.touch()

    def start(code, job_id=4711, nodes=2, restarts=0, client=True):
        env = {
            "PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(log), "CODE": str(code),
            "SLURM_JOB_ID": str(job_id), "SLURM_JOB_NODELIST": "node[1-2]", "POLL_S": "0.05",
            "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_RESTART_COUNT": str(restarts), "REQUEUE_S": "0",
            "WITHOUT_CLIENT": str(int(not client)),
        }  # fmt: skip
        command = ["bash", str(SCRIPT), "job.yaml", "--once", "d"]
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        return process, log

    return start


@pytest.mark.parametrize(
    ("code", "restarts", "is_queued"),
    [(0, 0, False), (2, 0, False), (7, 0, False), (75, 0, True), (75, 50, True), (5, 0, True),
     (3, 2, True), (4, 3, False), (1, 9, False)],
)  # fmt: skip
def test_an_exit_code_decides_whether_the_job_is_queued_again(batch, code, restarts, is_queued):
    process, log = batch(code, restarts=restarts)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert ("scontrol requeue 4711" in log.read_text()) == is_queued


def test_a_signal_is_passed_on_and_the_job_is_queued_again(batch):
    process, log = batch("wait")
    while "ready" not in log.read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "passing it on" in said
    assert "scontrol requeue 4711" in log.read_text()


def test_every_node_starts_ray_and_the_run_finds_it(batch):
    process, log = batch(0)
    process.communicate(timeout=60)
    lines = log.read_text().splitlines()
    head, worker = sorted(
        (line for line in lines if line.startswith("ray start")), key=len, reverse=True
    )
    port = 20000 + 4711 % 600 * 20
    assert f"--head --port={port}" in head
    assert f"--address=node1:{port}" in worker
    assert f"factory run job.yaml --once d at node1:{port}" in lines


def test_the_nodes_and_the_run_of_a_job_share_a_token_that_no_other_job_has(batch):
    """With the one of the home folder Ray would start, and its health check would fail for ever."""
    seen = set()
    for _ in range(2):
        process, log = batch(0)
        process.communicate(timeout=60)
        (said,) = {line for line in log.read_text().splitlines() if line.startswith("token ")}
        assert re.fullmatch("token token [0-9a-f]{64}", said)
        seen.add(said)
        log.write_text("")
    assert len(seen) == 2


def test_a_ray_without_its_client_is_not_told_of_a_port_for_it(batch):
    """`ray start` refuses the option then, and no Ray would start."""
    process, log = batch(0, client=False)
    process.communicate(timeout=60)
    assert "--head" in log.read_text()
    assert "client" not in log.read_text()


def test_one_node_starts_one_ray(batch):
    process, log = batch(0, nodes=1)
    process.communicate(timeout=60)
    assert log.read_text().count("ray start") == 1


def test_two_jobs_on_a_host_share_no_port_and_none_is_the_kernel_s(batch):
    taken = []
    for job_id in (4711, 4712):
        process, log = batch(0, job_id=job_id)
        process.communicate(timeout=60)
        head = next(line for line in log.read_text().splitlines() if "--head" in line)
        ports = {int(port) for port in re.findall(r"port=(\d+)", head)} - {0}
        assert len(ports) == 8
        assert max(ports) < 32768
        taken.append(ports)
        log.write_text("")
    assert not taken[0] & taken[1]


def test_shellcheck_has_nothing_to_say():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    ran = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")
