"""The service over real HTTP, on a real dataset."""

import http.client
import io
import json
import shutil
import threading
import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from damage import TAR, change_receipt
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from small_job import make_small

from factory.dataset.state import find_state
from factory.dataset.status import make_status
from factory.errors import StoreError
from factory.manifest.coverage import merge_coverage
from factory.manifest.parquet import encode_table, read_table
from factory.pack.image import decode_image
from factory.pack.tar import read_members
from factory.serve.app import make_app
from factory.serve.openapi import ENDPOINTS, make_openapi
from factory.serve.view import DatasetView
from factory.store import open_store
from factory.web.server import bind, serve_beside

CALLS = [
    ("/", "text/html"),
    ("/dom.js", "text/javascript"),
    ("/charts.js", "text/javascript"),
    ("/gallery.js", "text/javascript"),
    ("/sample.js", "text/javascript"),
    ("/page.js", "text/javascript"),
    ("/page.css", "text/css"),
    ("/icon.svg", "image/svg+xml"),
    ("/v1/openapi.json", "application/json"),
    ("/docs", "text/html; charset=utf-8"),
]


class Client:
    def __init__(self, port):
        self.port = port

    def get(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), data

    def json(self, path):
        status, _, data = self.get(path)
        assert status == 200, data
        return json.loads(data)


def serve(store, **options):
    opened = bind("127.0.0.1", 0)
    view = DatasetView(store, **options)
    serve_beside(make_app(view, token=""), opened)
    return view, Client(opened.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    make_small(
        folder,
        {
            "dataset.accept": {"min_confidence": 0.05},
            "dataset.coverage": {"min_samples": {"1": 15}, "budget": 40},
        },
    )
    return folder / "out"


@pytest.fixture(scope="module")
def client(folder):
    return serve(open_store(str(folder)))[1]


def test_the_summary_says_what_status_says(client, folder):
    state = find_state(open_store(str(folder)))
    status, summary = make_status(state, []), client.json("/v1/summary")
    assert summary["state"] == status["state"] == "complete"
    assert summary["samples_committed"] == status["samples_committed"] == 15
    assert summary["samples_planned"] == status["samples_planned"]
    assert summary["images_rejected"] == status["samples_rejected"]
    assert summary["bytes"] == status["bytes"]
    assert summary["rounds"] == status["rounds"] == 2
    assert summary["shards"]["committed"] == status["shards_committed"]


def test_coverage_is_that_of_the_receipts_counted_anew(client, folder):
    records = find_state(open_store(str(folder))).records
    merged = merge_coverage(record.coverage for record in records)
    answer = client.json("/v1/coverage")
    assert answer["samples"] == merged.num_kept == 15
    for k, label in enumerate(answer["mask_classes"]):
        assert label["images"] == sum(label["area"]) == merged.images_with(k)
        assert label["pixels"] == sum(record.class_px[k] for record in records)
    assert {c["name"]: sum(c["counts"]) for c in answer["curves"]} == dict.fromkeys(
        ("confidence", "sharpness", "border"), 15
    )
    assert [(t["name"], t["have"], t["state"]) for t in answer["targets"]] == [("1", 15, "met")]
    assert answer["budget"] == 40


def test_rounds_tell_every_index_once(client):
    runs = [run for round_ in client.json("/v1/rounds")["rounds"] for run in round_["runs"]]
    assert runs[0]["first_index"] == 0
    assert all(a["end_index"] == b["first_index"] for a, b in pairwise(runs))
    assert {run["state"] for run in runs} == {"committed"}


def test_shards_come_in_pages(client):
    whole = client.json("/v1/shards")
    assert whole["total"] == len(whole["shards"])
    page = client.json("/v1/shards?offset=1&limit=1&state=committed")
    assert page == {"total": whole["total"], "shards": whole["shards"][1:2]}
    assert client.json("/v1/shards?state=planned")["total"] == 0


@pytest.mark.parametrize("query", ["", "?pick=least_confident", "?pick=class&mask_class=2&limit=3"])
def test_galleries_name_samples_that_can_be_looked_at(client, query):
    tiles = client.json(f"/v1/gallery{query}")["tiles"]
    assert tiles
    if "least" in query:
        assert [t["confidence"] for t in tiles] == sorted(t["confidence"] for t in tiles)
    for tile in tiles[:3]:
        assert client.json(f"/v1/samples/{tile['key']}")["confidence"] == tile["confidence"]


def test_a_sample_s_pictures_are_those_of_its_tar(client, folder):
    shard = client.json("/v1/shards")["shards"][0]
    members = dict(read_members(folder / shard["path"]))
    key = next(iter(members)).partition(".")[0]
    facts = client.json(f"/v1/samples/{key}")
    assert facts["replay"] == f"factory replay {folder} {key}"
    assert sum(facts["class_px"].values()) + facts["ignore_px"] == facts["width"] * facts["height"]
    status, headers, data = client.get(f"/v1/samples/{key}/image.png")
    assert (status, headers["content-type"]) == (200, "image/png")
    image = decode_image(members[f"{key}.image.png"])
    assert (np.array(Image.open(io.BytesIO(data))) == image).all()
    for what, width in (("mask", 1), ("overlay", 1), ("tile", 2)):
        picture = Image.open(io.BytesIO(client.get(f"/v1/samples/{key}/{what}.png")[2]))
        assert picture.size == (width * image.shape[1], image.shape[0])


def test_samples_pace_job_and_failures_are_answered_over_http(client):
    page = client.json("/v1/samples?order=descending&limit=2")
    assert [tile["key"] for tile in page["tiles"]] == sorted(
        (tile["key"] for tile in page["tiles"]), reverse=True
    )
    assert client.json(f"/v1/samples?order=descending&from_key={page['next_key']}")["tiles"]
    pace = client.json("/v1/pace?of=all_runs")
    assert sum(one["samples"] for one in pace["intervals"]) == pytest.approx(15, abs=0.01)
    assert "samples_per_shard: 5" in client.json("/v1/job")["text"]
    assert client.json("/v1/failures") == {"total": 0, "failures": []}


def test_metrics_are_read_by_the_official_parser(client):
    status, headers, data = client.get("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {f.name: f for f in text_string_to_metric_families(data.decode())}
    assert families["factory_samples"].type == "counter"
    assert families["factory_samples"].samples[0].value == 15
    states = {s.labels["state"]: s.value for s in families["factory_shards"].samples}
    assert states == client.json("/v1/summary")["shards"]
    assert {s.labels["quantile"] for s in families["factory_sample_confidence"].samples} == {
        "0.05", "0.25", "0.5", "0.75", "0.95",
    }  # fmt: skip


@pytest.mark.parametrize(("path", "kind"), CALLS)
def test_the_page_and_its_parts_are_served(client, path, kind):
    status, headers, data = client.get(path)
    assert status == 200
    assert headers["content-type"].startswith(kind)
    assert data


def test_the_openapi_document_names_every_endpoint(client):
    document = client.json("/v1/openapi.json")
    assert set(document["paths"]) == {endpoint.path for endpoint in ENDPOINTS}
    assert document == json.loads(json.dumps(make_openapi(document["info"]["version"])))


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/samples/12", 404, "a sample's key has nine digits"),
        ("/v1/samples/999999999", 404, "no committed shard holds sample 999999999"),
        ("/v1/samples/999999999/tile.png", 404, "no committed shard holds sample 999999999"),
        ("/v1/samples/..%2f..%2fjob.yaml", 404, "Not Found"),
        ("/v1/samples/%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1", 404, "nine digits"),
        ("/../../etc/passwd", 404, "Not Found"),
        ("/%2e%2e/%2e%2e/etc/passwd", 404, "Not Found"),
        ("/page/../app.py", 404, "Not Found"),
        ("/data/train", 404, "Not Found"),
        ("/v1/shards?limit=1001", 400, "limit: input should be less than or equal to 1000"),
        ("/v1/shards?offset=-1", 400, "offset: "),
        ("/v1/shards?state=lost", 400, "state: "),
        ("/v1/gallery?pick=best", 400, "pick: "),
        ("/v1/samples?limit=49", 400, "limit: input should be less than or equal to 48"),
        ("/v1/samples?min_area=0.5", 400, "min_area: needs mask_class"),
        ("/v1/samples?from_key=../../x", 400, "from_key: "),
        ("/v1/pace?of=all", 400, "of: "),
        ("/v1/failures?limit=1000", 400, "limit: "),
        ("/v1/summary?" + "a" * 3000, 414, "the address is longer than 2048 bytes"),
    ],
)
def test_what_is_not_there_or_not_allowed_is_told(client, path, status, words):
    found, _, data = client.get(path)
    assert found == status, data
    assert words in json.loads(data)["error"]


def test_a_sample_whose_table_counts_fewer_classes_is_damage_and_no_fault_of_the_service(
    folder, tmp_path
):
    root = tmp_path / "out"
    shutil.copytree(folder, root)
    path = root / "meta/train/tiny-000001.parquet"
    table = read_table(path.read_bytes())
    place = table.schema.get_field_index("class_px")
    short = pa.array([[1]] * len(table), table.schema.types[place])
    path.write_bytes(encode_table(table.set_column(place, "class_px", short)))
    _, client = serve(open_store(str(root)))
    status, _, data = client.get("/v1/samples/000000006")
    assert status == 503
    assert "tiny-000001.parquet: counts 1 classes of 000000006" in json.loads(data)["error"]


def test_a_receipt_that_names_a_tar_elsewhere_shows_nothing_of_it(folder, tmp_path):
    root = tmp_path / "out"
    shutil.copytree(folder, root)
    shutil.move(root / TAR, tmp_path / "private.tar")
    change_receipt(root, path="../private.tar")
    _, client = serve(open_store(str(root)))
    status, _, data = client.get("/v1/samples/000000006/image.png")
    assert status == 503
    assert "names another tar" in json.loads(data)["error"]


def test_leases_and_quarantine_show_and_leases_fade(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out")
    store = open_store(str(tmp_path / "out"))
    store.remove("receipts/0000/000000.json")
    store.create("quarantine/0000/000000.json", b"{}")
    view, client = serve(store)
    view.set_in_flight([1, 99])
    summary = client.json("/v1/summary")
    assert summary["state"] == "running"
    assert summary["shards"]["quarantined"] == 1
    view._in_flight_at -= 60
    assert client.json("/v1/summary")["state"] == "incomplete"


def test_without_a_dataset_the_service_waits_for_one(tmp_path):
    store = open_store(str(tmp_path / "out"))
    view, client = serve(store)
    status, _, data = client.get("/v1/summary")
    assert status == 503
    assert "no dataset here" in json.loads(data)["error"]
    assert client.get("/healthz")[0] == 200
    make_small(tmp_path)
    view._checked_at -= 60
    assert client.json("/v1/summary")["samples_committed"] == 13


def test_growth_is_seen_and_a_lost_receipt_too(tmp_path):
    make_small(tmp_path)
    view = DatasetView(open_store(str(tmp_path / "out")))
    first = view.snapshot()
    view._checked_at -= 60
    assert view.snapshot().version == first.version, "nothing changed"
    make_small(tmp_path, {"dataset.num_samples": 17})
    view._checked_at -= 60
    grown = view.snapshot()
    assert grown.version > first.version
    assert grown.coverage.num_kept == 17
    fresh = DatasetView(open_store(str(tmp_path / "out"))).snapshot()
    assert (fresh.coverage, fresh.records) == (grown.coverage, grown.records)
    (tmp_path / "out/receipts/0000/000000.json").unlink()
    view._checked_at -= 60
    assert view.snapshot().coverage.num_kept == 17 - 5


def test_a_store_that_fails_later_leaves_the_last_numbers(folder):
    view = DatasetView(open_store(str(folder)))
    before = view.snapshot()

    def fail(*_):
        raise StoreError("gone")

    view.store.names = fail
    view._checked_at -= 60
    assert view.snapshot() == before


@pytest.mark.slow
def test_events_come_when_something_changes(folder):
    view, client = serve(open_store(str(folder)))
    lines = []

    def listen():
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
        connection.request("GET", "/v1/events")
        response = connection.getresponse()
        while len(lines) < 6:
            lines.append(response.readline().decode().strip())
        connection.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    view.set_in_flight([0])
    thread.join(15)
    assert lines[0] == "event: summary"
    states = [json.loads(line[6:])["state"] for line in lines if line.startswith("data: ")]
    assert states == ["complete", "running"]


@pytest.mark.slow
def test_a_listener_hears_something_while_nothing_changes(folder, monkeypatch):
    monkeypatch.setattr("factory.serve.app._QUIET_BEATS", 1)
    _, client = serve(open_store(str(folder)))
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    connection.request("GET", "/v1/events")
    with connection.getresponse() as response:
        lines = [response.readline().decode().strip() for _ in range(6)]
    connection.close()
    assert [line for line in lines if line.startswith("event")] == [
        "event: summary",
        "event: alive",
    ]
    assert lines[4] == "data: {}", "an event without data is not told to a page"


@pytest.mark.parametrize("num_labels", [0, 2, 9])
def test_a_label_table_that_is_not_that_of_the_receipts_fails_no_answer(
    folder, tmp_path, num_labels
):
    shutil.copytree(folder, tmp_path / "out")
    path = tmp_path / "out/labels.json"
    facts = json.loads(path.read_text())
    label = facts["labels"][0]
    labels = [
        label | {"id": i, "name": f"class {i}", "colour": [i, i, i]} for i in range(num_labels)
    ]
    facts |= {"labels": labels, "coarser": []}
    path.write_text(json.dumps(facts)) if num_labels else path.unlink()
    _, client = serve(open_store(str(tmp_path / "out")))
    assert client.get("/metrics")[0] == 200
    classes = client.json("/v1/coverage")["mask_classes"]
    assert [one["id"] for one in classes] == list(range(num_labels))
    assert all((one["pixels"] > 0) == (one["id"] < 4) for one in classes)
