import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import boto3
import pytest
from moto.server import ThreadedMotoServer
from small_job import small_job

from factory.care.doctor import examine
from factory.store import LocalStore, probe
from factory.store.probe import probe_local, probe_s3
from factory.store.s3 import S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def aws(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda port: monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")


@pytest.fixture
def moto(aws):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    aws(server.get_host_and_port()[1])
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield
    server.stop()


class Blind(BaseHTTPRequestHandler):
    """Says yes to everything."""

    protocol_version = "HTTP/1.1"

    def do_any(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        body = b"<R><UploadId>1</UploadId></R>" if "uploads" in self.path else b""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words):
        pass

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815


@pytest.fixture
def blind(aws):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blind)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    aws(server.server_port)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def states(checks):
    return {check.name: check.state for check in checks}


def test_a_good_folder_passes_and_is_left_as_it_was(tmp_path):
    checks = list(probe_local(LocalStore(str(tmp_path / "out")), single_writer=False))
    assert states(checks) == {"exclusive create": "ok", "clock": "ok"}
    assert checks[0].found == "1 of 8 concurrent writes succeeds"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("skew_s", "state"),
    [(0, "ok"), (50, "ok"), (-70, "warning"), (800, "warning"), (-1000, "fails")],
)
def test_a_clock_that_is_off_is_told_and_fails_where_s3_would_refuse(
    tmp_path, monkeypatch, skew_s, state
):
    ours = SimpleNamespace(time=lambda: time.time() + skew_s, monotonic=time.monotonic)
    monkeypatch.setattr(probe, "time", ours)
    checks = list(probe_local(LocalStore(str(tmp_path / "out")), single_writer=False))
    clock = next(check for check in checks if check.name == "clock")
    assert clock.state == state
    assert bool(clock.remedy) is (state != "ok")


def test_a_folder_that_cannot_be_written_fails_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    (check,) = probe_local(LocalStore(str(tmp_path / "file/out")), single_writer=False)
    assert (check.name, check.state) == ("write", "fails")
    assert check.remedy == "choose an output.uri whose parents are folders"


def test_what_to_do_is_told_apart_from_a_place_that_reads_like_it(tmp_path):
    (tmp_path / "a; b").touch()
    place = tmp_path / "a; b" / "out"
    (check,) = probe_local(LocalStore(str(place)), single_writer=False)
    assert check.found.startswith(f"{place}/")
    assert check.found.endswith(": not a directory")
    assert check.remedy == "choose an output.uri whose parents are folders"


@pytest.mark.slow
def test_a_bucket_is_probed_and_nothing_stays(moto):
    store = S3Store("s3://bucket/probed")
    found = states(probe_s3(store, single_writer=False))
    assert found["reach"] == found["clock"] == found["exclusive create"] == "ok"
    # This server checks the condition of an upload early, and checksums never.
    assert found["exclusive parts"] in ("ok", "warning")
    assert found["checksums"] == "warning"
    assert store.names("") == []
    assert store.leftovers() == []


@pytest.mark.slow
def test_a_server_that_ignores_conditions_fails_unless_one_writer_is_promised(blind):
    store = S3Store("s3://bucket/x")
    checks = list(probe_s3(store, single_writer=False))
    assert states(checks)["exclusive create"] == "fails"
    told = next(check for check in checks if check.state == "fails")
    assert told.found == (
        "8 of 8 concurrent writes succeed: this server ignores conditions: two runs could overwrite "
        "each other's shards"
    )
    assert told.remedy == (
        "use another server or a folder, or set output.single_writer: true (one run at a time)"
    )
    assert states(probe_s3(store, single_writer=True))["exclusive create"] == "ok"


def test_a_server_that_is_not_there_fails_soon_and_says_no_secret(aws):
    aws(1)
    (check,) = probe_s3(S3Store("s3://bucket/x", first_wait_s=0.01), single_writer=False)
    assert check.state == "fails"
    assert "no answer (endpoint connection), 3 times" in check.found
    assert check.remedy.startswith("look at server and network")
    assert SECRET not in f"{check}"


def test_a_job_s_machine_is_looked_at_as_a_whole(tmp_path):
    found = states(examine(small_job(tmp_path)))
    assert "fails" not in found.values()
    assert set(found) == {
        "versions", "/dev/shm", "disk: temporary files", "cache", "output: exclusive create",
        "output: clock", "disk: output", "gpu",
    }  # fmt: skip


def test_a_check_says_what_it_is_part_of(tmp_path):
    ray = {"executor": "ray", "address": "127.0.0.1:1", "num_actors": 1}
    kinds = {check.name: check.kind for check in examine(small_job(tmp_path, {"run": ray}))}
    assert kinds == {
        "versions": "machine", "/dev/shm": "machine", "disk: temporary files": "machine",
        "cache": "machine", "output: exclusive create": "output", "output: clock": "output",
        "disk: output": "output", "gpu": "machine", "workers": "cluster",
    }  # fmt: skip


def test_a_gpu_that_is_not_there_fails(tmp_path):
    spec = small_job(tmp_path, {"run.gpus_per_actor": 1})
    gpu = next(check for check in examine(spec) if check.name == "gpu")
    import torch

    if not torch.cuda.is_available():
        assert gpu.state == "fails"
        assert gpu.remedy.startswith("set run.gpus_per_actor: 0")


def test_without_a_gpu_it_says_that_workers_compute_on_the_cpu(tmp_path):
    import torch

    gpu = next(check for check in examine(small_job(tmp_path)) if check.name == "gpu")
    assert gpu.state == "ok"
    if not torch.cuda.is_available():
        assert gpu.found == "none in sight: workers compute on the CPU"


def test_a_cluster_that_is_too_small_fails_with_what_to_lower(tmp_path):
    spec = small_job(
        tmp_path, {"run": {"executor": "ray", "address": "127.0.0.1:1", "num_actors": 1}}
    )
    workers = next(check for check in examine(spec) if check.name == "workers")
    assert workers.state == "fails"
    assert workers.found.startswith("run.address: cannot reach a Ray cluster at '127.0.0.1:1' (")
    assert workers.remedy.startswith(
        "start one with `ray start --head`, or use run.executor: inline;"
    )
