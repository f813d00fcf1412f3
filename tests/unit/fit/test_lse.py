"""The formulas of Linear Semantics against numbers that the authors' own code made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from linear_gan import NSE1, iou_by_image, mean_iou
from torch.nn import functional

from factory.data import IGNORE
from factory.fit.lse import LinearLayers, Loss, Picture, Trainer, make_layer_weights

CASES = Path(__file__).parents[2] / "golden" / "linear"
HEADS = {
    "lse_plain": (range(7), "none", Loss()),
    "lse_softplus_aux": (range(5), "softplus", Loss(layer_share=0.1)),
    "lse_focal_subset": ((2, 4, 6), "none", Loss(focal=True)),
}
LOSSES = {
    "loss_ce": Loss(),
    "loss_focal_gamma2": Loss(focal=True),
    "loss_ce_plus_layers": Loss(layer_share=0.1),
}


def read(name):
    with np.load(CASES / f"{name}.npz") as case:
        return {key: torch.from_numpy(case[key]) for key in case.files}


def head_of(case, count, prefix, weighting="none"):
    blocks = [case[f"{prefix}/extractor.{place}.weight"][:, :, 0, 0] for place in range(count)]
    bias = torch.zeros(len(blocks[0]))
    return LinearLayers(blocks, case[f"{prefix}/layer_weight"].clone(), bias, weighting)


@pytest.mark.parametrize("name", HEADS)
def test_logits_layer_weights_losses_and_gradients_are_the_authors(name):
    layers, weighting, trained = HEADS[name]
    case = read(name)
    head = head_of(case, len(layers), "state", weighting)
    for tensor in (*head.blocks, head.layer_numbers):
        tensor.requires_grad_(True)
    maps = tuple(case[f"features/{layer}"] for layer in layers)
    ids = case["labels"].long()
    parts, logits = head.parts(maps), head.logits(maps, tuple(ids.shape[1:]))
    for place, part in enumerate(parts):
        torch.testing.assert_close(part, case[f"layer_logits/{place}"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(logits, case["logits"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(
        head.layer_weights, case["effective_layer_weight"], atol=2e-5, rtol=1e-5
    )
    best = case["logits"].topk(2, dim=1).values
    sure = best[:, 0] - best[:, 1] > 1e-4
    assert torch.equal(logits.argmax(dim=1)[sure], case["argmax"].long()[sure])
    picture = Picture(maps, ids)
    for key, loss in LOSSES.items():
        assert float(head.loss(picture, loss).detach()) == pytest.approx(float(case[key]), abs=2e-5)
    head.loss(picture, trained).backward()
    for place, block in enumerate(head.blocks):
        found = block.grad[:, :, None, None]
        torch.testing.assert_close(
            found, case[f"grad/extractor.{place}.weight"], atol=2e-5, rtol=1e-5
        )
    if "grad/layer_weight" in case:
        torch.testing.assert_close(
            head.layer_numbers.grad, case["grad/layer_weight"], atol=2e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "redraws", "num_passes"),
    [("lse_fewshot_trace_redraw", True, 2), ("lse_fewshot_trace_lr_drop", False, 2)],
)
def test_a_few_shot_training_follows_the_authors_step_by_step(name, redraws, num_passes):
    case = read(name)
    trainer = Trainer(head_of(case, 4, "initial"), Loss(), 1e-3)
    labels, losses = case["labels"].long(), []
    for epoch, rate in enumerate(case["lr_by_epoch"].tolist()):
        drawn = epoch if redraws else 0
        maps = [case[f"features/epoch{drawn}/{layer}"] for layer in range(4)]
        pictures = [
            Picture(tuple(part[[i]] for part in maps), labels[[i]]) for i in range(len(labels))
        ]
        losses += trainer.train_epoch(pictures, num_passes, rate_factor=rate / 1e-3)
        if f"after_epoch_{epoch + 1}/extractor.0.weight" in case:
            for place, block in enumerate(trainer.head.blocks):
                wanted = case[f"after_epoch_{epoch + 1}/extractor.{place}.weight"][:, :, 0, 0]
                torch.testing.assert_close(block.detach(), wanted, atol=5e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(losses), case["losses"], atol=2e-4, rtol=0)


def toy(seed=0, side=8):
    torch.manual_seed(seed)
    maps = (torch.randn(1, 5, 4, 4), torch.randn(1, 3, side, side))
    ids = torch.randint(0, 3, (1, side, side))
    return Picture(maps, ids)


def new_head(weighting="none", has_bias=False):
    torch.manual_seed(1)
    blocks = [torch.randn(3, 5) / 3, torch.randn(3, 3) / 3]
    return LinearLayers(blocks, torch.ones(2), torch.zeros(3), weighting, has_bias)


@pytest.mark.parametrize("loss", [Loss(), Loss(focal=True), Loss(layer_share=0.5)])
def test_what_lies_under_unpainted_pixels_changes_neither_loss_nor_gradient(loss):
    picture = toy()
    ids = torch.where(torch.rand(1, 8, 8) < 0.5, picture.ids, IGNORE)
    slopes = []
    for disturbance in (0.0, 7.0):
        # The layer of the picture's own size: what lies under other pixels is not interpolated.
        fine = picture.maps[1] + disturbance * (ids == IGNORE)[:, None]
        head = new_head()
        head.blocks[1].requires_grad_(True)
        head.loss(Picture((picture.maps[0], fine), ids), loss).backward()
        slopes.append(head.blocks[1].grad)
    torch.testing.assert_close(slopes[0], slopes[1])


def test_an_unpainted_pixel_is_not_class_0():
    picture = toy()
    unpainted = torch.where(picture.ids == 0, IGNORE, picture.ids)
    head = new_head()
    assert float(head.loss(Picture(picture.maps, unpainted), Loss())) != pytest.approx(
        float(head.loss(picture, Loss()))
    )


@pytest.mark.parametrize("focal", [False, True])
def test_class_weights_weigh_the_pixels_of_a_class(focal):
    picture, head = toy(), new_head()
    weights = torch.tensor([1.0, 4.0, 0.5])
    found = head.loss(picture, Loss(focal=focal, class_weights=weights))
    log_p = head.logits(picture.maps, (8, 8)).log_softmax(dim=1)
    each = functional.nll_loss(log_p, picture.ids, reduction="none")
    each = each * (1 - (-each).exp()) ** 2 if focal else each
    shares = weights[picture.ids]
    assert float(found) == pytest.approx(float((each * shares).sum() / shares.sum()), abs=1e-6)


@pytest.mark.parametrize("weighting", ["softplus", "sigmoid"])
def test_folded_weights_are_those_of_a_plain_head(weighting):
    head = new_head(weighting)
    head.layer_numbers = torch.tensor([2.0, -1.0])
    plain = LinearLayers(head.folded(), torch.ones(2), head.bias)
    maps = toy().maps
    torch.testing.assert_close(plain.logits(maps, (8, 8)), head.logits(maps, (8, 8)))
    assert float(make_layer_weights(head.layer_numbers, weighting).sum()) == pytest.approx(1)


def test_numbers_of_a_head_without_layer_weights_mean_nothing():
    assert make_layer_weights(torch.tensor([5.0, -3.0]), "none").tolist() == [1, 1]


@pytest.mark.parametrize("weighting", ["none", "softplus"])
def test_training_goes_on_from_a_kept_state_as_if_it_had_not_stopped(weighting):
    pictures = [toy(0), toy(1)]
    whole = Trainer(new_head(weighting, has_bias=True), Loss(), 1e-2)
    whole.train_epoch(pictures, 3)
    kept = whole.state()
    whole.train_epoch(pictures, 3)
    resumed = Trainer(new_head(weighting, has_bias=True), Loss(), 1e-2)
    resumed.restore(kept)
    resumed.train_epoch(pictures, 3)
    for mine, other in zip(resumed.state(), whole.state(), strict=True):
        assert torch.equal(mine, other)


def test_layer_weights_are_trained_at_ten_times_the_rate():
    trainer = Trainer(new_head("softplus"), Loss(), 1e-3)
    before = [tensor.clone() for tensor in trainer.state()[::4]]
    trainer.train_epoch([toy(0)], 1)
    moved = [
        float((now - then).abs().max())
        for now, then in zip(trainer.state()[::4], before, strict=True)
    ]
    # The first step of Adam is the learning rate, whatever the gradient.
    assert moved == pytest.approx([1e-3] * (len(moved) - 1) + [1e-2], rel=1e-3)


def test_an_update_follows_the_mean_gradient_of_a_pass():
    def first_moment(pictures):
        trainer = Trainer(new_head(), Loss(), 1e-3)
        trainer.train_epoch(pictures, 1)
        return trainer.state()[1]

    both, one, other = (first_moment(shots) for shots in ([toy(0), toy(1)], [toy(0)], [toy(1)]))
    torch.testing.assert_close(both, (one + other) / 2)


def test_the_state_of_another_head_is_refused():
    kept = Trainer(new_head("softplus"), Loss(), 1e-2).state()
    with pytest.raises(ValueError, match="12 tensors for 2 that are trained"):
        Trainer(new_head(), Loss(), 1e-2).restore(kept)
    with pytest.raises(ValueError, match=r"\(2,\) in place of \(3,\)"):
        Trainer(new_head(has_bias=True), Loss(), 1e-2).restore(kept)


def test_the_benchmark_s_miou_is_the_papers():
    case = {key: value.numpy() for key, value in read("lse_miou_per_image").items()}
    pair = case["truth"], case["prediction"]
    np.testing.assert_allclose(iou_by_image(*pair, 5), case["iou_by_image_and_class"], atol=1e-6)
    by_class, mean = mean_iou(*pair, 5)
    np.testing.assert_allclose(by_class, case["iou_by_class"], atol=1e-6)
    assert mean == pytest.approx(float(case["miou"]), abs=1e-6)
    right = case["truth"] == case["prediction"]
    np.testing.assert_allclose(right.mean(axis=(1, 2)), case["pixel_accuracy"], atol=1e-6)


def test_the_benchmark_s_non_linear_head_is_nse_1():
    case = read("nse1_forward")
    head = NSE1([10, 8, 6], 4)
    state = {key.removeprefix("state/"): v for key, v in case.items() if key.startswith("state/e")}
    head.load_state_dict(state)
    with torch.no_grad():
        found = head([case[f"features/{place}"] for place in range(3)], (32, 32))
    torch.testing.assert_close(found, case["logits"], atol=2e-5, rtol=1e-5)
