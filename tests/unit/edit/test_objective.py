import pytest
import torch

from factory.data import IGNORE
from factory.edit.objective import Pull, colour_loss, count_agreeing, layout_loss, mean_iou

WANTED = torch.tensor([[[0, 0, 1], [1, 1, IGNORE]]])


def test_iou_is_the_mean_over_the_classes_of_the_layout():
    found = torch.tensor([[[0, 1, 1], [1, 2, 0]]])
    # class 0: 1 of 2; class 1: 2 of 4 (one too many, one missed); 2 is not wanted, 255 does not count
    assert mean_iou(found, WANTED, 4).tolist() == [pytest.approx((1 / 2 + 2 / 4) / 2)]
    assert mean_iou(WANTED, WANTED, 4).tolist() == [1.0]


def test_a_pixel_of_no_class_is_wrong_where_a_class_is_wanted():
    found = torch.where(WANTED == 0, IGNORE, WANTED)
    assert mean_iou(found, WANTED, 4).tolist() == [0.5]
    assert count_agreeing(found, WANTED).tolist() == [3]


def test_pixels_where_anything_may_be_have_no_part_in_the_loss():
    scores = torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(1))
    other = scores.clone()
    other[..., 1, 2] = 50.0
    z = torch.zeros(1, 1, 5)
    losses = [layout_loss(one, WANTED, z, z, Pull()).total for one in (scores, other)]
    assert torch.equal(*losses)
    picked = scores.log_softmax(1).gather(1, WANTED.clamp(max=3)[:, None])[:, 0].flatten()[:5]
    assert float(losses[0]) == pytest.approx(-float(picked.mean()), rel=1e-6)


def test_samples_of_a_batch_have_losses_of_their_own():
    z = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])
    scores = torch.zeros(2, 4, 2, 3)
    terms = layout_loss(scores, WANTED.expand(2, -1, -1), z, z * 0, Pull(stay=0.5, prior=0.1))
    assert terms.stay.tolist() == [12.5, 0.0]
    assert terms.prior.tolist() == [2.5, 0.0]
    rows = layout_loss(
        scores, WANTED.expand(2, -1, -1), z.repeat(1, 4, 1), z.repeat(1, 4, 1), Pull()
    )
    assert rows.prior.tolist() == pytest.approx([0.025, 0.0])


def test_colours_of_a_region_without_pixels_have_no_difference():
    z = torch.zeros(1, 1, 2)
    picture = torch.ones(1, 3, 4, 4)
    terms = colour_loss(picture, picture * 0, torch.zeros(1, 4, 4), z, z, Pull())
    assert [float(term) for term in terms.fit] == [3.0, 0.0]
