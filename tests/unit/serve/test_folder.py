"""Many datasets in one folder, over real HTTP."""

import http.client
import json
import shutil

import pytest
from small_job import make_small

from factory.serve.folder import make_folder_app
from factory.serve.roots import FolderRoot
from factory.web.server import bind, serve_beside


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    make_small(folder)
    (folder / "out").rename(folder / "one & <b>")
    shutil.copytree(folder / "one & <b>", folder / "two")
    shutil.copytree(folder / "two", folder / ".hidden")
    shutil.copytree(folder / "two", folder / "deeper/three")
    (folder / "link").symlink_to(folder / "deeper/three")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    return folder


@pytest.fixture(scope="module")
def get(folder):
    opened = bind("127.0.0.1", 0)
    serve_beside(make_folder_app(FolderRoot(folder), token=""), opened)

    def get(path):
        connection = http.client.HTTPConnection("127.0.0.1", opened.getsockname()[1], timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), data

    return get


def test_only_direct_subfolders_that_are_datasets_are_listed(folder, get):
    names = ["one & <b>", "two"]
    assert FolderRoot(folder).names() == names
    assert json.loads(get("/v1/datasets")[2]) == {"total": 2, "names": names}
    assert json.loads(get("/v1/datasets?offset=1&limit=1")[2]) == {"total": 2, "names": ["two"]}
    assert get("/v1/datasets?limit=1000")[0] == 400
    assert FolderRoot(folder / "file").names() == FolderRoot(folder / "missing").names() == []


def test_each_dataset_has_its_page_and_its_answers(get):
    status, headers, data = get("/")
    assert (status, b"datasets.js" in data) == (200, True)
    assert headers["x-frame-options"] == "DENY"
    for name in ("two", "one%20%26%20%3Cb%3E"):
        assert b"page.js" in get(f"/d/{name}/")[2]
        assert json.loads(get(f"/d/{name}/v1/summary")[2])["samples_committed"] == 13
        assert get(f"/d/{name}/v1/samples/000000003/tile.png")[1]["content-type"] == "image/png"
        assert get(f"/d/{name}/page.js")[0] == 200
    status, headers, _ = get("/d/two")
    assert (status, headers["location"].endswith("/d/two/")) == (307, True)
    assert set(json.loads(get("/v1/openapi.json")[2])["paths"]) == {"/v1/datasets", "/healthz"}
    assert b"GET /v1/datasets" in get("/docs")[2]
    assert b"GET /v1/summary" in get("/d/two/docs")[2]


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e",
        "..%2fmany",
        ".hidden",
        "link",
        "empty",
        "deeper",
        "deeper%2fthree",
        "file",
        "no",
    ],
)
def test_no_other_name_leads_anywhere(get, name):
    status, _, data = get(f"/d/{name}/v1/summary")
    assert status == 404, data
    assert "samples_committed" not in data.decode()


def test_a_dataset_that_is_damaged_or_gone_says_so_and_the_others_go_on(folder, get):
    shutil.copytree(folder / "two", folder / "bad")
    (folder / "bad/plan/round-0000.json").write_text("{}")
    status, _, data = get("/d/bad/v1/summary")
    assert (status, "round-0000.json" in data.decode()) == (503, True)
    shutil.rmtree(folder / "bad")
    assert get("/d/bad/v1/summary")[0] == 404
    assert get("/d/two/v1/summary")[0] == 200
