from datetime import UTC, datetime, timedelta

from receipts import a_record
from small_job import small_job

from factory.dataset.state import DatasetState
from factory.dataset.status import make_status
from factory.plan.rounds import make_plan


def state(tmp_path, *records):
    return DatasetState(make_plan(small_job(tmp_path), {}, ()), tuple(records))


def test_nothing_made_is_incomplete_and_was_never_committed(tmp_path):
    found = make_status(state(tmp_path), [])
    assert found["state"] == "incomplete"
    assert found["last_commit"] == "never"
    assert (found["shards_planned"], found["samples_planned"]) == (3, 13)
    assert (found["shards_committed"], found["samples_committed"], found["bytes"]) == (0, 0, 0)


def test_rejects_are_summed_by_reason_and_short_shards_are_told(tmp_path):
    records = [
        a_record(0, num_samples=5, num_rejected={"confidence": 1}, size_bytes=100),
        a_record(
            1,
            num_samples=1,
            num_rejected={"confidence": 2, "class_0_too_small": 3},
            size_bytes=23,
            finished_at="2026-01-02T00:00:00+00:00",
        ),
    ]
    found = make_status(state(tmp_path, *records), [])
    assert found["samples_rejected"] == {"class_0_too_small": 3, "confidence": 3}
    assert found["samples_committed"] == 6
    assert found["samples_short"] == 4
    assert found["bytes"] == 123
    assert found["last_commit"] == "2026-01-02T00:00:00+00:00"
    assert found["state"] == "incomplete"


def test_all_shards_make_it_complete_even_when_short(tmp_path):
    records = [a_record(i, num_samples=n) for i, n in enumerate((5, 5, 2))]
    found = make_status(state(tmp_path, *records), [])
    assert found["state"] == "complete"
    assert found["samples_short"] == 1


def test_time_left_follows_from_the_latest_commits_while_a_run_is_at_work(tmp_path):
    now = datetime.now(UTC) + timedelta(hours=1)  # however long the test waits, it is not overdue
    times = [(now - timedelta(seconds=s)).isoformat(timespec="seconds") for s in (6, 1)]
    records = [a_record(i, num_samples=5, finished_at=at) for i, at in enumerate(times)]
    found = make_status(state(tmp_path, *records), [])
    assert found["pairs_per_s"] == 1
    assert found["seconds_left"] == 3  # of 13 samples
    assert [worker["shards"] for worker in found["workers"]] == [2]


def test_a_dataset_that_nobody_works_on_has_neither_rate_nor_time_left(tmp_path):
    found = make_status(state(tmp_path, *(a_record(i, num_samples=5) for i in range(2))), [])
    assert (found["pairs_per_s"], found["seconds_left"]) == (0, None)
