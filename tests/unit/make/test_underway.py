"""Samples of unfinished shards are counted, and forgotten when their shard ends in any way."""

import pytest
from small_job import small_job

from factory.make.underway import SamplesUnderway
from factory.plan.rounds import make_plan


def fail(counts, task):
    with counts.until_committed(task):
        counts.update(task, 2)
        counts.update(task, 4)
        assert counts.total == 7
        raise OSError("disk full")


def test_counts_of_several_shards_add_up_and_end_with_each(tmp_path):
    first, second, _ = make_plan(small_job(tmp_path), {"a": 1}).tasks()
    counts = SamplesUnderway()
    with counts.until_committed(first):
        counts.update(first, 3)
        with pytest.raises(OSError, match="full"):
            fail(counts, second)
        assert counts.total == 3
    assert counts.total == 0
