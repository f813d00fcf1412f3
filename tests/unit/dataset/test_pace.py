"""How fast a dataset grows, and who makes it."""

from datetime import UTC, datetime, timedelta

import pytest
from receipts import a_record

from factory.dataset.pace import find_workers, pairs_per_s

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def record(position: int, seconds: float, **facts):
    return a_record(position, **({"finished_at": at(seconds), "wall_s": 1.0} | facts))


def test_the_rate_is_that_of_the_latest_commits_in_whatever_order_they_come():
    slow = [record(i, i * 100, num_samples=5) for i in range(10)]
    quick = [record(10 + i, 1000 + i * 2, num_samples=50) for i in range(24)]
    now = START + timedelta(seconds=1050)
    assert pairs_per_s([*quick[::-1], *slow], now) == pytest.approx(23 * 50 / 46)


def test_one_shard_tells_no_rate_and_equal_times_do_not_divide_by_zero():
    now = START + timedelta(seconds=1)
    assert pairs_per_s([], now) == pairs_per_s([record(0, 0)], now) == 0
    assert pairs_per_s([record(0, 0, num_samples=5), record(1, 0, num_samples=7)], now) == 7


@pytest.mark.parametrize(
    ("wall_s", "waited_s", "is_at_work"),
    [(1, 59, True), (1, 61, False), (100, 299, True), (100, 301, False)],
)
def test_a_run_has_stopped_when_its_next_shard_is_long_overdue(wall_s, waited_s, is_at_work):
    records = [record(i, i, wall_s=wall_s) for i in range(2)]
    rate = pairs_per_s(records, START + timedelta(seconds=1 + waited_s))
    assert bool(rate) == is_at_work


def test_a_time_without_a_zone_is_utc():
    naive = [record(i, i, finished_at=f"2026-01-01T00:00:0{i}") for i in range(2)]
    assert pairs_per_s(naive, START + timedelta(seconds=2)) > 0


def test_workers_are_told_with_what_each_made_those_at_work_first():
    records = [
        record(0, 0, worker="a/1", device="CPU", num_samples=5, wall_s=2.0),
        record(1, 9, worker="b/2", device="GPU", num_samples=30, wall_s=1.5),
        record(2, 5, worker="a/1", device="CPU", num_samples=7, wall_s=1.0),
    ]
    first, second = find_workers(records)
    assert (first.worker, first.device, first.shards, first.samples) == ("b/2", "GPU", 1, 30)
    assert first.pairs_per_s == 20
    assert (second.worker, second.shards, second.samples) == ("a/1", 2, 12)
    assert (second.pairs_per_s, second.last_commit) == (4, at(5))


def test_a_worker_of_unknown_time_has_no_rate():
    assert find_workers([record(0, 0, wall_s=0.0)])[0].pairs_per_s == 0
