"""How a dataset was made, as the service tells it."""

import json
from dataclasses import replace

import pytest
from receipts import a_record
from small_job import make_small

from factory.dataset.quarantine import Attempts
from factory.serve.history import describe_job, describe_pace, list_failures
from factory.serve.history_answers import PaceAnswer
from factory.serve.queries import FailuresQuery, PaceQuery
from factory.serve.view import DatasetView
from factory.store import open_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    make_small(folder)
    return open_store(str(folder / "out"))


@pytest.fixture(scope="module")
def snapshot(made):
    return DatasetView(made).snapshot()


def test_the_pace_of_a_real_run_adds_up_to_its_samples(snapshot):
    answer = describe_pace(snapshot, PaceQuery())
    assert sum(one.samples for one in answer.intervals) == pytest.approx(13, abs=0.01)
    assert [worker.samples for worker in answer.workers] == [13]
    assert answer.started_at <= answer.ended_at
    assert all(one.generate_s <= one.worker_s for one in answer.intervals)
    assert PaceAnswer.model_validate_json(answer.model_dump_json()) == answer


def test_workers_beyond_the_sixteenth_are_told_together(snapshot):
    records = [
        a_record(i, worker=f"host/{i:02d}", num_samples=100 - i, wall_s=1.0) for i in range(40)
    ]
    answer = describe_pace(replace(snapshot, records=tuple(records)), PaceQuery())
    assert len(answer.workers) == 16
    assert answer.workers[0].worker == "host/00"
    assert answer.workers[-1].worker == "25 others"
    assert sum(worker.samples for worker in answer.workers) == sum(r.num_samples for r in records)
    for interval in answer.intervals:
        assert sum(interval.by_worker) == pytest.approx(interval.samples, abs=0.02)


def test_times_that_no_clock_shows_are_told_all_the_same(snapshot):
    years = ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-12:00")
    records = [a_record(i, finished_at=year, wall_s=1e9) for i, year in enumerate(years)]
    answer = describe_pace(replace(snapshot, records=tuple(records)), PaceQuery(of="all_runs"))
    assert (answer.started_at[:4], answer.ended_at[:4]) == ("0001", "9999")
    assert describe_pace(replace(snapshot, records=()), PaceQuery()).started_at == "never"


def test_the_job_is_shown_without_credentials_and_is_cut_where_it_is_too_long(tmp_path):
    store = open_store(str(tmp_path))
    assert describe_job(store).text == ""
    store.replace(
        "job.yaml", b"uri: https://me:secret@host/a.pt?key=secret\nname: \x1b[31m<b>\xff\n"
    )
    text = describe_job(store).text
    assert "secret" not in text
    assert "\x1b" not in text
    assert text.startswith("uri: https://host/a.pt\nname: ")
    store.replace("job.yaml", b"# a\n" * 10**5)
    assert describe_job(store).is_cut
    assert len(describe_job(store).text) == 2**18


def test_failures_are_listed_quarantine_first_and_no_other_file_is_read(
    made, snapshot, monkeypatch
):
    attempts = Attempts(made, "a run")
    for task in snapshot.plan.tasks():
        attempts.note(task, "no memory for s3://me:secret@host/a")
    attempts.give_up(snapshot.plan.tasks()[1], "<b>too often</b>")
    made.create("attempts/0000/000002-9.json", b"[" * 10**5)
    made.create("attempts/step-abc.json", json.dumps({}).encode())
    read, lookup = [], made.read_part
    monkeypatch.setattr(made, "read_part", lambda *place: read.append(place[0]) or lookup(*place))
    answer = list_failures(made, snapshot, FailuresQuery(limit=2))
    assert answer.total == 5
    assert len(read) == 2
    first, second = answer.failures
    assert (first.is_quarantine, first.shard_index, first.state) == (True, 1, "committed")
    assert first.reason == "<b>too often</b>"
    assert (second.is_quarantine, second.attempt) == (False, 1)
    assert "secret" not in second.reason
    last = list_failures(made, snapshot, FailuresQuery(offset=4)).failures[-1]
    assert (last.attempt, last.reason) == (0, "attempts/0000/000002-9.json cannot be read")
