import pytest
import torch

from factory.data import IGNORE
from factory.segment.mask_figures import count_each, count_px, mean_of_claimed


@pytest.mark.parametrize("num_classes", [2, 5, 255])
def test_counts_leave_out_other_values_and_both_ways_give_the_same(num_classes):
    rng = torch.Generator().manual_seed(num_classes)
    masks = torch.randint(num_classes, (3, 6, 7), generator=rng).byte()
    masks[1, 2:4] = IGNORE
    found = count_px(masks, num_classes)
    assert torch.equal(found, count_each(masks, num_classes))
    assert found.dtype == torch.int64
    assert found.sum(dim=1).tolist() == [42, 28, 42]
    assert found[0, 1] == (masks[0] == 1).sum()


def test_a_device_with_queued_work_is_not_asked_for_numbers():
    found = count_px(torch.zeros(2, 4, 4, dtype=torch.uint8, device="meta"), 5)
    assert found.shape == (2, 5)


def test_the_mean_is_over_claimed_pixels_and_zero_without_any():
    by_px = torch.tensor([[[0.5, 1.0]], [[0.5, 0.5]]])
    claimed = torch.tensor([[[True, False]], [[False, False]]])
    mean, left = mean_of_claimed(by_px, claimed)
    assert mean.tolist() == [0.5, 0.0]
    assert left.tolist() == [[[0.5, 0.0]], [[0.0, 0.0]]]
