from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receipts import a_record

from factory.dataset.pace_series import MOST_INTERVALS, make_series, merge_series, select_run

START = datetime(2026, 11, 29, 12, tzinfo=UTC)


def shard(index, end_s, wall_s, worker="a", run_id="one", **facts):
    finished_at = (START + timedelta(seconds=end_s)).isoformat(timespec="seconds")
    return a_record(
        index, finished_at=finished_at, wall_s=wall_s, worker=worker, run_id=run_id, **facts
    )


def sums(series):
    names = ("samples", "rejected", "worker_s", "generate_s")
    return [sum(getattr(a, name) for a in series.intervals.values()) for name in names]


def test_a_shard_counts_evenly_for_the_time_in_which_it_was_made():
    series = make_series([shard(0, 4, 4.0, num_samples=8, generate_s=2.0, num_rejected={"a": 4})])
    assert series.width_s == 1
    assert [round(a.samples, 6) for a in series.intervals.values()] == [2.0] * 4
    assert sums(series) == pytest.approx([8, 4, 4, 2])
    assert series.seconds_of(min(series.intervals)) == 1


def test_intervals_are_cut_where_the_making_began_and_ended():
    series = make_series([shard(0, 290, 290.0, num_samples=290)])
    assert series.width_s == 5
    first, last = min(series.intervals), max(series.intervals)
    assert series.seconds_of(last) == 5
    rates = {round(a.samples / series.seconds_of(n), 6) for n, a in series.intervals.items()}
    assert rates == {1.0}
    assert last - first == 57


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**7), st.floats(0, 10**5), st.integers(1, 50), st.sampled_from("abc")
        ),
        min_size=1,
        max_size=12,
    )
)
def test_series_of_parts_merge_to_that_of_the_whole(shards):
    records = [
        shard(i, end, wall, worker, num_samples=n)
        for i, (end, wall, n, worker) in enumerate(shards)
    ]
    whole = make_series(records)
    parts = [make_series([r for r in records if r.worker == worker]) for worker in "abc"]
    merged = merge_series(parts)
    assert sums(merged) == pytest.approx(sums(whole))
    assert (merged.width_s, merged.start_s, merged.end_s) == (
        whole.width_s,
        whole.start_s,
        whole.end_s,
    )
    assert merged.intervals.keys() == whole.intervals.keys()
    for number, amounts in whole.intervals.items():
        assert merged.intervals[number].samples == pytest.approx(amounts.samples)
    assert len(whole.intervals) <= MOST_INTERVALS


@pytest.mark.parametrize("years", [["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59"]])
def test_receipts_that_state_any_time_fill_no_more_intervals(years):
    records = [
        a_record(i, finished_at=year, wall_s=1e300, num_samples=3) for i, year in enumerate(years)
    ]
    series = make_series(records)
    assert len(series.intervals) <= MOST_INTERVALS
    assert sums(series)[0] == pytest.approx(6)


def test_the_latest_run_is_that_of_the_last_commit():
    records = [shard(0, 50, 1.0, run_id="two"), shard(1, 10, 1.0), shard(2, 60, 1.0, run_id="two")]
    assert [record.shard_index for record in select_run(records)] == [0, 2]
    assert select_run([]) == []
    assert merge_series([]).intervals == make_series([]).intervals == {}
