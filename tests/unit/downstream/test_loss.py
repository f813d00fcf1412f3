import pytest
import torch

from factory.downstream.loss import segmentation_loss


def logits_of(masks, k=3, sure=12.0):
    return sure * torch.nn.functional.one_hot(masks, k).permute(0, 3, 1, 2).float()


def test_a_sure_and_right_answer_costs_nothing_and_a_wrong_one_much():
    masks = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    assert segmentation_loss(logits_of(masks), masks) < 0.01
    assert segmentation_loss(logits_of((masks + 1) % 3), masks) > 5


def test_ignored_pixels_change_nothing_and_an_empty_mask_is_no_error():
    masks = torch.zeros(1, 8, 8, dtype=torch.int64)
    masks[:, 4:] = 255
    logits = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    other = logits.detach().clone()
    other[:, :, 4:] = 7.0
    assert segmentation_loss(logits, masks) == segmentation_loss(other, masks)
    alone = segmentation_loss(logits[:, :, :4], masks[:, :4])
    assert segmentation_loss(logits, masks).item() == pytest.approx(alone.item(), rel=1e-5)
    loss = segmentation_loss(logits, torch.full_like(masks, 255))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_class_weights_move_the_loss_towards_rare_classes():
    masks = torch.zeros(1, 8, 8, dtype=torch.int64)
    masks[0, 0, 0] = 1
    wrong = logits_of(torch.zeros_like(masks), 2)
    plain = segmentation_loss(wrong, masks)
    weighted = segmentation_loss(wrong, masks, torch.tensor([0.1, 1.9]))
    assert weighted > plain + 1
    assert weighted == pytest.approx(weighted.item())
