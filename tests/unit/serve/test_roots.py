"""Where many datasets lie: folders and prefixes of a bucket that can be told apart from others."""

import http.client
import json
import tempfile

import boto3
import pytest
from s3_server import moto_server, use_server
from small_job import make_small

from factory.serve import roots
from factory.serve.folder import make_folder_app
from factory.serve.roots import BucketRoot, FolderRoot, root_of
from factory.store import open_store
from factory.web.server import bind, serve_beside

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    make_small(folder)
    return folder / "out"


@pytest.fixture
def bucket(local, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with moto_server() as endpoint:
        use_server(monkeypatch, endpoint)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        names = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
        for where in (
            "all/one",
            "all/two 2",
            "all/.hidden",
            "all/deeper/three",
            "all/a?b",
            "other",
        ):
            for name in names:
                data = (local / name).read_bytes()
                client.put_object(Bucket="bucket", Key=f"{where}/{name}", Body=data)
        client.put_object(Bucket="bucket", Key="all/notes.txt", Body=b"x")
        client.put_object(Bucket="bucket", Key="all/empty/x", Body=b"x")
        yield client


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, data


@pytest.mark.slow
def test_the_datasets_below_a_prefix_are_served_and_nothing_else(bucket):
    root = root_of(open_store("s3://bucket/all"))
    assert isinstance(root, BucketRoot)
    assert root.names() == ["one", "two 2"]
    opened = bind("127.0.0.1", 0)
    port = opened.getsockname()[1]
    serve_beside(make_folder_app(root, token=""), opened)
    assert json.loads(get(port, "/v1/datasets")[1])["names"] == ["one", "two 2"]
    for name in ("one", "two%202"):
        status, data = get(port, f"/d/{name}/v1/summary")
        assert (status, json.loads(data)["samples_committed"]) == (200, 13)
        assert get(port, f"/d/{name}/v1/samples/000000003/tile.png")[1].startswith(b"\x89PNG")
    for name in (
        "..",
        "..%2fother",
        "deeper",
        "deeper%2fthree",
        ".hidden",
        "empty",
        "a%3Fb",
        "",
        "x" * 900,
    ):
        assert get(port, f"/d/{name}/v1/summary")[0] == 404, name


@pytest.mark.slow
def test_a_look_at_a_bucket_is_kept_for_a_while(bucket, monkeypatch):
    root = BucketRoot(open_store("s3://bucket/all"))
    assert root.has("one")
    bucket.put_object(Bucket="bucket", Key=f"all/new/{roots.round_path(0)}", Body=b"{}")
    assert not root.has("new")
    monkeypatch.setattr(roots, "_KEPT_S", 0.0)
    assert root.has("new")


def test_a_dataset_is_no_root_and_neither_is_a_folder_without_any(local, tmp_path):
    assert root_of(open_store(str(local))) is None
    assert root_of(open_store(str(tmp_path))) is None
    assert root_of(open_store(str(tmp_path / "missing"))) is None
    found = root_of(open_store(str(local.parent)))
    assert isinstance(found, FolderRoot)
    assert found.names() == ["out"]
    assert found.has("out")
    assert not found.has("..")
    assert found.open("out").read("labels.json") is not None
