"""How a run ended, as its address and its gateway hear it."""

import json

import pytest
from small_job import Witness, small_job
from web_listener import listening

from factory.errors import Interrupted, JobError, StoreError
from factory.job import run_job
from factory.manifest.paths import JOB_PATH
from factory.run.reporting import reporting

MISSED = {
    "dataset.coverage": {"min_samples": {"cluster_01": 400}, "budget": 10},
}


def told(web):
    return [json.loads(request.body) for request in web.requests if request.method == "POST"]


def test_a_complete_run_tells_its_numbers(tmp_path):
    with listening() as web:
        run_job(small_job(tmp_path, {"run.notify": f"{web.url}/hook"}), Witness())
    (event,) = told(web)
    assert event["event"] == "complete"
    assert (event["samples"], event["shards"], event["exit_code"]) == (13, 3, 0)
    assert event["text"] == "maskfactory tiny: complete: 13 pairs in 3 shards"


def test_a_target_that_cannot_be_met_is_told_before_the_end(tmp_path):
    with listening() as web:
        run_job(small_job(tmp_path, MISSED | {"run.notify": web.url}), Witness())
    missed, complete = told(web)
    assert (missed["event"], complete["event"]) == ("target_missed", "complete")
    assert missed["targets"][0]["name"] == "cluster_01"
    assert missed["targets"][0]["have"] < missed["targets"][0]["wanted"] == 400


def test_a_failed_run_tells_its_exit_code_and_message(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with listening() as web, pytest.raises(StoreError):
        run_job(small_job(tmp_path, {"run.notify": web.url}), Witness())
    (event,) = told(web)
    assert (event["event"], event["exit_code"]) == ("failed", 6)
    assert "mine.txt" in event["message"]


def test_a_stop_is_told_once_and_not_waited_for(tmp_path):
    with listening(500) as web:
        spec = small_job(tmp_path, {"run.notify": web.url})
        with pytest.raises(Interrupted), reporting(spec):
            raise Interrupted("stopped")
    (event,) = told(web)
    assert (event["event"], event["exit_code"]) == ("stopped", 75)


def test_a_bug_is_told_by_its_kind_alone(tmp_path):
    with listening() as web:
        spec = small_job(tmp_path, {"run.notify": web.url})
        with pytest.raises(ZeroDivisionError), reporting(spec):
            1 / 0  # noqa: B018 - that is the bug
    assert (told(web)[0]["exit_code"], told(web)[0]["message"]) == (1, "zero division")


def test_a_run_does_not_fail_because_nobody_listens(tmp_path, caplog):
    away = {
        "run.notify": "http://127.0.0.1:1/secret-path",
        "run.push_metrics": "http://127.0.0.1:1/x",
    }
    with caplog.at_level("WARNING"), listening(404) as web:
        away["run.notify"] = f"{web.url}/secret-path"
        assert run_job(small_job(tmp_path, away), Witness()).num_samples == 13
    lines = [r.getMessage() for r in caplog.records if "failed" in r.getMessage()]
    assert lines == [
        "notify_failed event_kind=complete reason='HTTP 404'",
        "push_failed reason='Connection refused'",
    ]


def test_metrics_of_the_end_come_with_the_exit_code(tmp_path):
    with listening() as web:
        run_job(small_job(tmp_path, {"run.push_metrics": web.url}), Witness())
    assert "factory_run_exit_code 0" in web.requests[-1].body.decode()
    assert "factory_samples_total 13" in web.requests[-1].body.decode()


def test_addresses_are_not_stored_with_the_dataset(tmp_path):
    with listening() as web:
        tells = {"run.notify": f"{web.url}/token-abc", "run.push_metrics": web.url}
        manifest = run_job(small_job(tmp_path, tells), Witness())
    quiet = run_job(small_job(tmp_path / "quiet"), Witness())
    assert manifest.dataset_id == quiet.dataset_id
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"token-abc" not in path.read_bytes(), path
    assert "notify" not in (tmp_path / "out" / JOB_PATH).read_text()


def test_a_missing_variable_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(JobError, match=r"run\.notify: NO_SUCH_HOOK is no environment variable"):
        run_job(small_job(tmp_path, {"run.notify": "env:NO_SUCH_HOOK"}), Witness())
    assert not (tmp_path / "out").exists()
