"""How agreement is distributed over the samples of some shards."""

import pytest

from factory.dataset.compared import find_compared
from factory.manifest.coverage import Coverage, cover_agreement
from factory.manifest.records import ShardRecord


def shard(values):
    return ShardRecord.model_construct(coverage=cover_agreement(values))


def test_quantiles_and_what_a_filter_keeps_are_those_of_all_shards():
    found = find_compared(
        [shard([0.1, 0.5]), shard([0.8, 0.9, 1.0]), ShardRecord.model_construct(coverage=None)]
    )
    assert found.kept == {0.5: 0.8, 0.6: 0.6, 0.7: 0.6, 0.8: 0.6, 0.9: 0.4}
    assert found.quantiles[0.5] == pytest.approx(0.8, abs=0.02)
    assert found.quantiles[0.05] == pytest.approx(0.1, abs=0.02)
    assert found.quantiles[0.95] == pytest.approx(1.0, abs=0.02)


def test_masks_that_were_not_compared_have_no_distribution():
    assert find_compared([ShardRecord.model_construct(coverage=Coverage())]) is None
    assert find_compared([]) is None
