import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3_server import use_server
from toy_maker import a_maker, kept_in, steered

from factory.data import ShardTask
from factory.dataset.receipts import find_record
from factory.errors import RetryableError, StoreError
from factory.make.commit import Origin, adopt_shard, commit_shard, make_record
from factory.pack.contents import Expected
from factory.pack.facts import SampleFacts
from factory.pack.tar import ShardWriter
from factory.store.s3 import S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

TASK = ShardTask(
    dataset_id="d", name="toy-000000", round_index=0, shard_index=0, first_index=0, num_indices=6,
    num_samples=4,
)  # fmt: skip
MAKING = Origin("run", 1.0, 1.0, "a processor", {"confidence": 1}, {"python": "3"})


def rows_of(count):
    return [
        SampleFacts(
            key=f"{i:09d}", index=i, dataset_id="d", class_label=-1, class_name="", confidence=0.5,
            width=1, height=1, class_px=[1], ignore_px=0,
        )
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture
def liar(monkeypatch):
    """A server that answers 412 to the first write of each path in `liar.about`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    inner = server.get_host_and_port()[1]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            lies = [part for part in proxy.about if part in self.path]
            if lies and "If-None-Match" in self.headers:
                proxy.about.remove(lies[0])
                self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>", {})
                return
            onward = http.client.HTTPConnection("127.0.0.1", inner)
            kept = {k: v for k, v in self.headers.items() if k != "Expect"}
            onward.request(self.command, self.path, body, kept)
            reply = onward.getresponse()
            data = reply.read()
            onward.close()
            self.answer(reply.status, data, dict(reply.getheaders()))

        def answer(self, status, data, headers):
            self.send_response(status)
            for name in ("ETag", "Last-Modified"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *words):
            pass

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.about = []
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    use_server(monkeypatch, f"http://127.0.0.1:{proxy.server_port}")
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    thread.join()
    server.stop()


def shard(folder):
    path = folder / "x.tar"
    with ShardWriter(path) as writer:
        writer.add([("a", b"1")])
        packed = writer.finish()
    return path, make_record(TASK, rows_of(4), packed, MAKING)


@pytest.mark.slow
def test_a_store_that_lies_about_a_tar_or_a_receipt_is_asked_again_and_nothing_is_claimed(
    liar, tmp_path
):
    store = S3Store("s3://bucket/x")
    store.create("before", b"")
    liar.about = ["/data/train/toy-000000.tar"]
    path, record = shard(tmp_path)
    assert commit_shard(store, TASK, path, record, rows_of(4)) is None
    assert adopt_shard(store, TASK, Expected(1, [], 0), "run") is None, "there is nothing to adopt"
    liar.about = ["/receipts/"]
    path, record = shard(tmp_path)
    with pytest.raises(RetryableError) as caught:
        commit_shard(store, TASK, path, record, rows_of(4))
    assert str(caught.value) == (
        "s3://bucket/x/receipts/0000/000000.json: the store says it is there, and has none"
    )
    assert find_record(store, TASK) is None
    path, record = shard(tmp_path)
    assert commit_shard(store, TASK, path, record, rows_of(4)) == record
    assert find_record(store, TASK) == record


@pytest.mark.slow
def test_an_unreadable_receipt_is_not_taken_for_none(liar):
    store = S3Store("s3://bucket/x")
    store.replace("receipts/0000/000000.json", b"")
    with pytest.raises(StoreError, match="not a receipt"):
        find_record(store, TASK)


def adopted(folder, maker, task):
    """What another worker makes of a tar whose writer died before the receipt."""
    made = maker.make(task)
    for path in (folder / "out/receipts").rglob("*.json"):
        path.unlink()
    record = maker.make(task)
    assert record.finished_at
    assert (record.device, record.versions) == ("unknown", {})
    assert (record.sha256, record.num_samples) == (made.sha256, made.num_samples)
    assert record.class_px == made.class_px
    return made, record


LARGE = {"accept": {"class_share": {"square": [0.08, 1]}}}


def test_of_an_adopted_shard_nothing_behind_its_last_sample_is_taken_for_rejected(tmp_path):
    maker, tasks = a_maker(tmp_path, "Classed", oversample=20, **LARGE)
    made, record = adopted(tmp_path, maker, tasks[0])
    kept = kept_in(tmp_path, tasks[0])
    lost = [index for index in range(kept[-1]) if index not in kept]
    assert lost, "there is something to count"
    assert record.num_rejected == {"unknown": len(lost)}
    assert record.coverage.made == dict(sorted(Counter(i % 3 for i in [*kept, *lost]).items()))
    assert record.coverage.kept == made.coverage.kept
    assert sum(made.num_rejected.values()) - len(lost) < 3, "of the last batch only its maker knew"


def test_of_an_adopted_shard_that_came_out_short_the_whole_range_was_made(tmp_path):
    maker, tasks = a_maker(tmp_path, "Classed", **LARGE)
    made, record = adopted(tmp_path, maker, tasks[1])
    assert 0 < record.num_samples < 5
    assert kept_in(tmp_path, tasks[1])[-1] < 9, "the last of the range is not in it"
    assert record.num_rejected == {"unknown": 5 - record.num_samples}
    assert record.coverage == made.coverage


def test_of_an_adopted_shard_that_was_ranked_the_whole_range_was_made(tmp_path):
    maker, tasks = a_maker(tmp_path, "Classed", oversample=8)
    made, record = adopted(tmp_path, maker, steered(tasks[0], best_by=2))
    assert kept_in(tmp_path, tasks[0])[-1] < 39, "the last of the range is not in it"
    assert record.num_rejected == {"unknown": 35}
    assert record.coverage == made.coverage, "its latents are drawn again, and its samples measured"
