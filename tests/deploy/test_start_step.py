"""Starting a night: two requests to a Kubernetes API that is played by a server on this machine."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from manifests import KUBERNETES, render

SCRIPT = KUBERNETES / "schedule" / "start_step.py"


class Api(ThreadingHTTPServer):
    """Knows RayJobs, their names, and one token."""

    def __init__(self, template):
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs = {template["metadata"]["name"]: template}
        self.refuse_with = 0
        self.asked = []


class Handler(BaseHTTPRequestHandler):
    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allowed(self):
        self.server.asked.append((self.command, self.path))
        if self.headers["Authorization"] != "Bearer a-token":
            self.answer(401, {"message": "Unauthorized"})
        elif self.server.refuse_with:
            self.answer(self.server.refuse_with, {"message": "no"})
        else:
            return True
        return False

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        if self.allowed():
            found = self.server.jobs.get(name)
            self.answer(200 if found else 404, found or {"message": f"{name} not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        name = body["metadata"]["name"]
        if name in self.server.jobs:
            self.answer(409, {"message": "already exists"})
            return
        self.server.jobs[name] = body
        self.answer(201, body)

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    template = render(KUBERNETES / "overlays" / "gpu")["RayJob", "maskfactory-template"]
    template["metadata"]["resourceVersion"] = "17"
    server = Api(template | {"status": {"jobDeploymentStatus": "Suspended"}})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def start(api, tmp_path):
    (tmp_path / "token").write_text("a-token\n")

    def run(*arguments, job_name="maskfactory-nightly-29931960", server=None):
        command = [sys.executable, str(SCRIPT), "--account", str(tmp_path)]
        command += ["--server", server or f"http://127.0.0.1:{api.server_port}", *arguments]
        env = {"PATH": os.environ["PATH"], "JOB_NAME": job_name, "NAMESPACE": "maskfactory"}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    return run


def test_a_night_is_the_template_awake_with_its_key(start, api):
    assert start().returncode == 0
    made = api.jobs["maskfactory-2026-11-29"]
    template = api.jobs["maskfactory-template"]
    assert made["spec"]["suspend"] is False
    assert made["spec"]["entrypoint"].endswith("--once 2026-11-29")
    assert made["spec"]["rayClusterSpec"] == template["spec"]["rayClusterSpec"]
    assert set(made) == {"apiVersion", "kind", "metadata", "spec"}
    assert "resourceVersion" not in made["metadata"]
    assert {path for _, path in api.asked} == {
        "/apis/ray.io/v1/namespaces/maskfactory/rayjobs",
        "/apis/ray.io/v1/namespaces/maskfactory/rayjobs/maskfactory-template",
    }


def test_a_second_attempt_at_the_same_night_starts_nothing_and_is_well(start, api):
    first, second = start(), start()
    assert (first.returncode, second.returncode) == (0, 0)
    assert "started already" in second.stdout
    assert len(api.jobs) == 2


def test_a_key_by_hand_becomes_a_name(start, api):
    assert start("--key", "Big_Step:2").returncode == 0
    assert api.jobs["maskfactory-big-step-2"]["spec"]["entrypoint"].endswith("--once Big_Step:2")


@pytest.mark.parametrize(
    ("code", "exit_code"), [(500, 1), (503, 1), (429, 1), (403, 2), (404, 2), (422, 2)]
)
def test_what_may_pass_is_worth_another_attempt_and_a_refusal_is_not(start, api, code, exit_code):
    api.refuse_with = code
    ran = start()
    assert (ran.returncode, str(code) in ran.stderr) == (exit_code, True)


def test_an_api_that_is_away_is_one_line(start):
    ran = start(server="http://127.0.0.1:1")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr


def test_a_name_without_a_minute_is_refused(start):
    ran = start(job_name="by-hand")
    assert ran.returncode == 1
    assert "give --key" in ran.stderr


def test_the_cronjob_retries_what_the_script_says_is_worth_it():
    cron = render(KUBERNETES / "schedule")["CronJob", "maskfactory-nightly"]["spec"]["jobTemplate"][
        "spec"
    ]
    (rule,) = cron["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": "start", "operator": "In", "values": [2]}
    assert cron["template"]["spec"]["restartPolicy"] == "Never"  # what a pod failure policy needs
