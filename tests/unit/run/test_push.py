"""Metrics for runs without a service."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_job import make_small
from web_listener import listening

from factory.run.push import MetricsPusher, pushing
from factory.store import open_store


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push")
    make_small(folder)
    return folder / "out"


def metrics(request):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(request.body.decode())
        for sample in family.samples
    }


def test_a_push_replaces_the_group_of_its_dataset(root):
    with listening() as web:
        assert MetricsPusher(f"{web.url}/", open_store(str(root)), "tiny").push() == ""
    (request,) = web.requests
    assert (request.method, request.path) == ("PUT", "/metrics/job/maskfactory/dataset/tiny")
    found = metrics(request)
    assert found["factory_samples_total",] == 13
    assert found["factory_shards", "committed"] == 3
    assert ("factory_run_exit_code",) not in found


def test_the_last_push_says_how_the_run_ended(root):
    with listening() as web:
        MetricsPusher(web.url, open_store(str(root)), "tiny").push(75, 1790000000.4)
    found = metrics(web.requests[0])
    assert found["factory_run_exit_code",] == 75
    assert found["factory_run_finished_seconds",] == 1790000000


def test_how_a_run_ended_is_told_without_a_dataset_too(tmp_path):
    pusher = MetricsPusher("http://127.0.0.1:1", open_store(str(tmp_path / "none")), "tiny")
    assert pusher.push() == "no metrics yet: no round is planned, or the store does not answer"
    with listening() as web:
        assert MetricsPusher(web.url, open_store(str(tmp_path / "none")), "tiny").push(2) == ""
    assert metrics(web.requests[0])["factory_run_exit_code",] == 2


def test_a_gateway_that_is_away_is_warned_of_once(root, caplog):
    pusher = MetricsPusher("http://127.0.0.1:1/secret", open_store(str(root)), "tiny")
    with caplog.at_level("WARNING"):
        for _ in range(3):
            pusher.push_or_warn()
    assert [r.getMessage() for r in caplog.records] == ["push_failed reason='Connection refused'"]


def test_it_pushes_in_the_background_until_the_run_ends(root):
    class Counted(MetricsPusher):
        num_pushed = 0

        def push_or_warn(self, exit_code=None):
            self.num_pushed += 1

    pusher = Counted("http://127.0.0.1:1", open_store(str(root)), "tiny")
    with pushing(pusher, every_s=0.001):
        while pusher.num_pushed < 3:
            pass
    after = pusher.num_pushed
    assert pusher.num_pushed == after
