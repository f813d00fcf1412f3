"""Resume and end of a run with a million shards, on a bucket that is simulated request by request.

    python tests/bench/large_run.py --shards 1000000 [--latency-ms 30] [--lost 3]

The store is the real `S3Store` on the real botocore; only the network is not there: each request waits
`--latency-ms`, and is answered from a plan. Receipts, snapshots, listings and views are as long as
those of shards with 250 samples. The server's processor time is taken off. `--lost` snapshots are
missing.
"""

import argparse
import os
import re
import resource
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from botocore.awsrequest import AWSResponse
from large import LargeStore
from urllib3 import HTTPResponse

from factory.dataset import receipts
from factory.dataset.committed import SnapshotKeeper, find_committed
from factory.dataset.quarantine import Attempts, find_quarantined
from factory.dataset.sizes import check_sizes
from factory.dataset.state import find_plan
from factory.dataset.stored_records import sizes_of
from factory.dataset.views import finish_beside_others
from factory.run.watch import find_listed
from factory.store.s3 import S3Store

PAGE = 1000
_ENTRY = (
    "<Contents><Key>ds/%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>%d</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class Bucket:
    """Answers the requests of one client."""

    def __init__(self, dataset, folder, latency_s):
        self.dataset, self.folder, self.latency_s = dataset, folder, latency_s
        self.cpu_s, self.num_requests, self.num_bytes = 0.0, 0, 0
        self._lock = threading.Lock()
        self._created = set()
        for block in dataset.snapshots:  # encoded beforehand: no server does that
            path = receipts.path_of_block(block)
            Path(folder, path.replace("/", "-")).write_bytes(dataset.read(path))

    def answer(self, request, **_):
        begun = time.thread_time()
        status, body, headers = self._answer(request)
        with self._lock:
            self.cpu_s += time.thread_time() - begun
            self.num_requests += 1
            self.num_bytes += len(body)
        time.sleep(self.latency_s)
        raw = HTTPResponse(body=BytesIO(body), preload_content=False, status=status)
        return AWSResponse(request.url, status, headers, raw)

    def _answer(self, request):
        parts = urlsplit(request.url)
        path = unquote(parts.path).removeprefix("/bucket").removeprefix("/").removeprefix("ds/")
        if request.method == "GET" and not path:
            return 200, self._list(parse_qs(parts.query)), {}
        if request.method == "PUT":
            return self._put(request, path)
        if request.method == "DELETE":
            return 204, b"", {}
        data = self._read(path)
        if data is None:
            error = b"<Error><Code>NoSuchKey</Code></Error>"
            return 404, b"" if request.method == "HEAD" else error, {}
        if request.method == "HEAD":
            return 200, b"", {"Content-Length": str(len(data))}
        if "Range" in request.headers:
            first, last = re.findall(r"\d+", str(request.headers["Range"]))
            data = data[int(first) : int(last) + 1]
        return 200, data, {"Content-Length": str(len(data))}

    def _put(self, request, path):
        if "If-None-Match" in request.headers and path in self._created:
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>", {}
        if not path.startswith("_probe") and request.body is not None:
            body = request.body
            self.dataset.replace(path, body if isinstance(body, bytes) else _Whole(body))
            if path.startswith("snapshots/"):
                block = int(path[10:16]) // receipts.BLOCK
                self.dataset.snapshots.add(block)
                name = path.replace("/", "-")
                Path(self.folder, name).write_bytes(self.dataset.read(path))
        self._created.add(path)
        return 200, b"", {"ETag": '"x"'}

    def _read(self, path):
        if path.startswith("snapshots/"):
            file = Path(self.folder, path.replace("/", "-"))
            return file.read_bytes() if file.exists() else None
        return self.dataset.read(path)

    def _size_of(self, path):
        return Path(self.folder, path.replace("/", "-")).stat().st_size

    def _list(self, query):
        folder = query["prefix"][0].removeprefix("ds/")
        after = (query.get("continuation-token") or query.get("start-after") or [""])[0]
        after = after.removeprefix("ds/")
        match = re.search(r"(\d{6})\.", after)
        if folder.startswith(("receipts/", "data/")):
            first = int(match[1]) + 1 if match else 0
            last = min(first + PAGE, self.dataset.num_shards)
            form = "receipts/0000/%06d.json" if folder[0] == "r" else "data/train/large-%06d.tar"
            size = 6000 if folder[0] == "r" else self.dataset.size_of("data/train/large-000000.tar")
            names = [form % index for index in range(first, last)]
            is_cut = last < self.dataset.num_shards
        else:
            names, size, is_cut = self.dataset.names(folder.strip("/")), 0, False
        entries = "".join([_ENTRY % (name, size or self._size_of(name)) for name in names])
        token = f"<NextContinuationToken>ds/{names[-1]}</NextContinuationToken>" if is_cut else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<IsTruncated>{'true' if is_cut else 'false'}</IsTruncated>{token}{entries}"
            "</ListBucketResult>"
        ).encode()


class _Whole:
    """A request's body, from its beginning."""

    def __init__(self, body):
        self._body = body

    def seek(self, *place):
        return self._body.seek(*place)

    def read(self, size=-1):
        return self._body.read(size)


class Meter:
    """Prints what a step took: seconds, processor time without the server's, requests, peak memory."""

    def __init__(self, bucket):
        self.bucket = bucket
        self.begin()

    def begin(self):
        bucket = self.bucket
        self.start = time.monotonic(), time.process_time() - bucket.cpu_s, bucket.num_requests
        self.start_bytes = bucket.num_bytes

    def tell(self, name):
        bucket = self.bucket
        now = time.monotonic(), time.process_time() - bucket.cpu_s, bucket.num_requests
        wall, cpu, requests = (b - a for a, b in zip(self.start, now, strict=True))
        mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        received = (bucket.num_bytes - self.start_bytes) / 2**20
        print(
            f"{name:<34}{wall:>8.1f} s{cpu:>8.1f} s CPU{requests:>8,} requests"
            f"{received:>8,.0f} MiB in  peak {mib:>6,.0f} MiB",
            flush=True,
        )
        self.begin()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=float, default=30)
    parser.add_argument("--lost", type=int, default=0)
    given = parser.parse_args()
    fake = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "x"}
    os.environ.update(fake | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    dataset = LargeStore(given.shards, lost=range(given.lost))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bucket = Bucket(dataset, folder, given.latency_ms / 1000)
        store = S3Store("s3://bucket/ds")
        store.calls.client.meta.events.register("before-send.s3", bucket.answer)
        meter = Meter(bucket)
        meter.tell("before: imports, the bench's own tables")
        measure(store, meter, given.shards)
    for path, (size, _) in dataset.written.items():
        print(f"wrote {path}: {size / 1e6:,.1f} MB")


def measure(store, meter, num_shards):
    meter.begin()
    plan = find_plan(store)
    done = find_committed(store, plan, mend=True)
    assert len(done.indices) == num_shards
    keeper = SnapshotKeeper(store, done)
    quarantined = find_quarantined(store, done.indices)
    assert not plan.without(done.indices | {failure.shard_index for failure in quarantined})
    Attempts(store, "bench")
    meter.tell("resume, until tasks are known")
    state = find_listed(store, plan, keeper)
    meter.tell("end: what is there")
    finish_beside_others(store, state)
    meter.tell("end: manifest, card, index, preview")
    check_sizes(store, sizes_of(state.records))
    meter.tell("end: sizes of all tars")


if __name__ == "__main__":
    main()
