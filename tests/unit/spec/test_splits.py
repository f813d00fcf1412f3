import pytest
from small_job import small_job

from factory.errors import JobError


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"train": 0.9, "val": 0.2}, "the shares add up to 1.1; they must add up to 1"),
        ({"train": 0.9}, "the shares add up to 0.9"),
        ({"val": 0.5, "test": 0.5}, "dataset.splits.train"),
        ({"train": 0, "test": 1}, "dataset.splits.train"),
        ({"train": 0.5, "valid": 0.5}, "dataset.splits.valid"),
        ({"train": True}, "dataset.splits.train"),
    ],
)
def test_shares_that_are_no_division_are_told(tmp_path, shares, told):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.splits": shares})
    assert told in str(caught.value)


def test_decimals_add_up_although_binary_fractions_do_not(tmp_path):
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    assert 0.7 + 0.2 + 0.1 != 1
    assert small_job(tmp_path, {"dataset.splits": shares}).dataset.splits.val == 0.2
