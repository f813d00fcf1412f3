import os
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import SpooledTemporaryFile

import boto3
import pytest
from racing import race
from s3_server import PART, Fault, a_file, refusal, uploads

from factory.provenance import new_run_id
from factory.store.s3 import S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def test_of_eight_that_create_one_name_exactly_one_wins(store):
    for round_index in range(5):
        name = f"a/b/{round_index}.json"
        won = race([lambda i=i, name=name: store.create(name, b"%d" % i * 100) for i in range(8)])
        assert sorted(won) == [False] * 7 + [True]
        assert store.read(name) == b"%d" % won.index(True) * 100


def test_a_file_is_replaced_by_all_of_an_open_one(store):
    for size in (3, 200_000):
        data = os.urandom(size)
        with SpooledTemporaryFile(1000) as file:
            file.write(data)
            store.replace("view", file)
        assert store.read("view") == data


@pytest.mark.slow
def test_a_large_file_is_sent_in_parts_and_comes_back_whole(store, middle):
    data = os.urandom(2 * PART + 7)
    file = a_file(store, data)
    assert store.publish("data/x.tar", file)
    assert not file.exists()
    assert middle.count("PUT", "data/x.tar.*partNumber=") == 3
    with store.fetch("data/x.tar") as copy:
        assert copy.read_bytes() == data
        place = copy.parent
    assert not place.exists()
    again = a_file(store, data)
    assert not store.publish("data/x.tar", again)
    assert not again.exists()
    assert uploads() == []


def test_an_empty_file_and_one_of_exactly_a_part_need_no_parts(store, middle):
    assert store.publish("empty", a_file(store, b""))
    assert store.publish("part", a_file(store, bytes(PART)))
    assert middle.count("PUT", "partNumber=") == 0
    assert (store.read("empty"), len(store.read("part"))) == (b"", PART)


def test_a_name_that_exists_is_never_written_again(store):
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    file = a_file(store, b"third")
    assert not store.publish("a", file)
    assert store.read("a") == b"first"
    assert not file.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["409", "500", "503", "cut", "refuse"])
def test_a_create_outlives_what_may_pass(store, middle, kind):
    store.create("before", b"")
    middle.faults = [Fault("PUT", "/a.json", kind, times=3)]
    assert store.create("a.json", b"ours")
    assert store.read("a.json") == b"ours"
    assert not store.create("a.json", b"theirs")


def test_a_412_after_a_cut_connection_is_ours_only_if_the_bytes_are(store, middle):
    store.create("before", b"")
    middle.faults = [Fault("PUT", "/a.json", "cut")]
    assert store.create("a.json", b"ours"), "the server had committed before the cut"
    boto3.client("s3").put_object(
        Bucket="bucket", Key=f"{store.uri.removeprefix('s3://bucket/')}/b.json", Body=b"theirs"
    )
    middle.faults = [Fault("PUT", "/b.json", "cut")]
    assert not store.create("b.json", b"ours"), "somebody else was first"
    assert store.read("b.json") == b"theirs"


def test_without_a_cut_equal_bytes_are_still_somebody_elses(store):
    assert store.create("a", b"same")
    assert not store.create("a", b"same")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["409", "500", "cut"])
def test_a_completion_that_breaks_is_begun_again(store, middle, kind):
    store.publish("before", a_file(store, bytes(PART + 1)))
    middle.faults = [Fault("POST", r"/x.tar\?uploadId=", kind)]
    data = os.urandom(PART + 9)
    assert store.publish("x.tar", a_file(store, data))
    assert store.read("x.tar") == data
    assert middle.count("POST", r"/x.tar\?uploads") == 2
    assert uploads() == []


def test_a_part_that_breaks_is_sent_again_and_the_upload_goes_on(store, middle):
    store.publish("before", a_file(store, bytes(PART + 1)))
    middle.faults = [Fault("PUT", "/x.tar.*partNumber=2", "503", times=2)]
    assert store.publish("x.tar", a_file(store, bytes(PART + 1)))
    assert middle.count("POST", r"/x.tar\?uploads") == 1
    assert middle.count("PUT", "/x.tar.*partNumber=1") == 1
    assert middle.count("PUT", "/x.tar.*partNumber=2") == 3


def test_an_upload_that_fails_for_good_leaves_nothing(store, middle):
    store.publish("before", a_file(store, bytes(PART + 1)))
    middle.faults = [Fault("PUT", "/x.tar.*partNumber=2", "403")]
    file = a_file(store, bytes(PART + 1))
    text = refusal(lambda: store.publish("x.tar", file))
    assert text == (
        f"{store.uri}/x.tar: the server answers 403 Injected; mend it and run the command again"
    )
    assert uploads() == []
    assert store.read("x.tar") is None
    assert not file.exists()


def test_a_server_is_probed_once_for_each_way_of_writing_and_nothing_stays(store, middle):
    store.create("a", b"")
    S3Store(store.uri).create("b", b"")
    assert middle.count("PUT", "/_probe/") == 2
    store.publish("c", a_file(store, bytes(PART + 1)))
    store.publish("d", a_file(store, bytes(PART + 1)))
    assert middle.count("POST", "/_probe/") == 4
    assert store.names("") == ["a", "b", "c", "d"]


def test_nothing_is_written_by_readers(store, middle):
    assert store.read("a") is None
    assert store.names("") == []
    assert store.find_foreign_entry([]) is None
    with store.fetch("a") as path:
        assert path is None
    store.clean_up("run")
    assert {method for method, _ in middle.requests} == {"GET", "PUT"}
    assert middle.count("PUT", "") == middle.count("PUT", "/bucket") == 1, "the fixture's bucket"


@pytest.mark.slow
def test_a_server_that_ignores_conditions_is_refused(store, monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_DELETE = do_PUT  # noqa: N815

        def log_message(self, *words):
            pass

    blind = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=blind.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{blind.server_port}")
    refused = S3Store("s3://bucket/x")
    wanted = (
        "s3://bucket/x: this server ignores conditional writes, so two workers could overwrite "
        "each other's shards; use another server, or a folder, or, if only one run at a time "
        "writes there, set output.single_writer: true"
    )
    try:
        assert refusal(lambda: refused.create("a", b"")) == wanted
        assert refusal(lambda: refused.replace("a", b"")) == wanted
        assert refusal(lambda: refused.publish("a", a_file(refused, b""))) == wanted
    finally:
        blind.shutdown()
        blind.server_close()
        thread.join()


def test_uploads_and_probes_that_a_killed_worker_left_are_found_and_discarded(store):
    client = boto3.client("s3")
    root = store.uri.removeprefix("s3://bucket/")
    begun = client.create_multipart_upload(Bucket="bucket", Key=f"{root}/data/x.tar")
    client.put_object(Bucket="bucket", Key=f"{root}/_probe/y", Body=b"")
    store.create("data/z.tar", b"whole")
    upload, probe = store.leftovers()
    assert (upload.path, upload.upload_id) == ("data/x.tar", begun["UploadId"])
    assert (probe.path, probe.upload_id) == ("_probe/y", "")
    for leftover in (upload, probe, upload, probe):  # twice: somebody else may have been quicker
        store.discard(leftover)
    assert store.leftovers() == []
    assert uploads() == []
    assert store.read("data/z.tar") == b"whole"


def without_condition(params, **_):
    params["headers"].pop("If-None-Match", None)


@pytest.mark.slow
def test_a_single_writer_may_use_a_server_that_ignores_conditions(store, middle):
    alone = S3Store(store.uri, single_writer=True)
    # A server that ignores a condition answers as one that was never sent it.
    alone.calls.client.meta.events.register("before-call.s3.PutObject", without_condition)
    assert alone.create("a", b"first")
    assert not alone.create("a", b"second")
    assert middle.count("PUT", "/_probe/") == 0
    assert alone.read("a") == b"first"


def test_a_published_file_that_is_not_there_is_told(store, tmp_path):
    assert refusal(lambda: store.publish("a", tmp_path / "none")) == (
        f"{tmp_path}/none: no such file or directory; mend it and run the command again"
    )


def test_a_temporary_folder_that_cannot_be_used_is_told(store, tmp_path):
    (tmp_path / "maskfactory").write_bytes(b"")
    assert refusal(lambda: store.work_folder("run")).startswith(
        f"{tmp_path}/maskfactory/run: not a"
    )


def test_work_folders_are_shared_by_users_and_private_to_runs(store, tmp_path):
    folder = store.work_folder("run")
    assert folder == tmp_path / "maskfactory" / "run"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o1777
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert store.work_folder("run") == folder


def test_clean_up_removes_this_run_and_dead_ones_and_no_living_one(store, tmp_path):
    finished = subprocess.run(
        [sys.executable, "-c", "from factory.provenance import new_run_id as n; print(n())"],
        capture_output=True,
        text=True,
        check=True,
    )
    dead, living = finished.stdout.strip(), new_run_id()
    elsewhere = "another-host-1-00000000"
    for run_id in ("mine", dead, living, elsewhere):
        (store.work_folder(run_id) / "x.tar").write_bytes(b"x")
    store.clean_up("mine")
    left = sorted(path.name for path in (tmp_path / "maskfactory").iterdir())
    assert left == sorted([living, elsewhere])


def test_a_local_store_does_not_load_the_aws_client():
    code = "import sys, factory.store as s; s.open_store('x'); print('boto3' in sys.modules)"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert found.stdout.strip() == "False"
