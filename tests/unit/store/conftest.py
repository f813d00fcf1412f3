import tempfile
import threading
from http.server import ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3_server import PART, SECRET, Middle, handler_for

from factory.store.s3 import S3Store


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def middle(server, monkeypatch, tmp_path):
    middle = Middle(server)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(middle))
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}",
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield middle
    proxy.shutdown()
    proxy.server_close()
    thread.join()


@pytest.fixture
def store(middle, request):
    prefix = request.node.name.replace("[", "-").replace("]", "")
    return S3Store(f"s3://bucket/{prefix}", part_bytes=PART, first_wait_s=0.01)
