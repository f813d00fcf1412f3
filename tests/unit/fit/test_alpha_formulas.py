"""The formulas of Labels4Free against numbers that the authors' own code made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from factory.checkpoint.alpha_network import arrange
from factory.fit.alpha.losses import (
    HALF_LIFE_STEPS,
    R1_EVERY,
    R1_GAMMA,
    AlphaLoss,
    binarisation,
    composite,
    decay_of,
    missing_background,
    missing_foreground,
    update_average,
)
from factory.fit.alpha.released import name_tensors
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag
from factory.segment.alpha.network import AlphaNetwork, flat, tensor_shapes
from factory.spec.alpha import PRESETS
from factory.train_generator.losses import discriminator_loss, generator_loss, r1_penalty

GOLDEN = Path(__file__).parents[2] / "golden"


def read(name):
    with np.load(GOLDEN / "alpha" / f"{name}.npz") as case:
        return {key: torch.from_numpy(case[key]) for key in case.files}


def network_of(case, count):
    """The alpha network of a case, on maps named by their numbers."""
    levels = tuple((str(2 * place), str(2 * place + 1)) for place in range(count))
    state = {key.removeprefix("state/"): case[key] for key in case if key.startswith("state/")}
    found = arrange({name: tensor.float() for name, tensor in state.items()}, "case")
    tensors = name_tensors(found, levels)
    assert {n: tuple(t.shape) for n, t in tensors.items()} == tensor_shapes(levels, found.channels)
    return AlphaNetwork(levels, tensors), tensors


@pytest.mark.parametrize("name", ["l4f_alpha_paper_layout", "l4f_alpha_generic_layout"])
def test_both_layouts_of_the_authors_give_their_alpha(name):
    case = read(name)
    network, _ = network_of(case, 6)
    features = {key: case[f"features/{key}"] for key in flat(network.levels)}
    alpha = network(features)
    torch.testing.assert_close(alpha, case["alpha"][:, 0], atol=2e-5, rtol=0)
    sure = (case["alpha"][:, 0] - 0.9).abs() > 1e-4
    hard = case["hard_over_0.9"][:, 0].bool()
    assert torch.equal((alpha > 0.9)[sure], hard[sure])


def wave(number, channels, side):
    """Feature map `number` of the case of released size, by its formula."""
    c = np.arange(channels)[:, None, None]
    y, x = (np.arange(side) / side)[None, :, None], (np.arange(side) / side)[None, None, :]
    angle = 0.7 * c + 2.3 * (number + 1) + 6 * y * (1 + c % 3) + 5 * x * (1 + c % 5)
    return torch.from_numpy(np.sin(angle).astype(np.float32))[None]


def test_a_network_of_released_size_gives_the_authors_alpha():
    case = read("l4f_alpha_256")
    network, tensors = network_of(case, 6)
    assert sum(tensor.numel() for tensor in tensors.values()) == 14_947
    features = {
        name: wave(int(name), tensors[f"map/{name}.weight"].shape[1], 8 << int(name) // 2)
        for name in flat(network.levels)
    }
    alpha = network(features)[0]
    torch.testing.assert_close(alpha[::4, ::4], case["alpha_strided"], atol=1e-4, rtol=0)
    torch.testing.assert_close(alpha[128], case["alpha_row_middle"], atol=1e-4, rtol=0)
    assert float(alpha.mean()) == pytest.approx(float(case["alpha_mean"]), abs=1e-4)
    assert float(binarisation(alpha[None])) == pytest.approx(float(case["binarisation"]), abs=1e-4)
    share = float((alpha > 0.9).float().mean())
    assert share == pytest.approx(float(case["share_over_0.9"]), abs=1e-4)


def critic_of(case):
    """The stand-in for a critic that the case's numbers were made with."""

    def criticise(images):
        maps = functional.softplus(functional.conv2d(images, case["d_kernel"], stride=2))
        return (maps.mean(dim=(2, 3)) * torch.tensor([1, -1.2, 0.6, -0.5])).sum(dim=1)

    return criticise


def test_every_loss_of_the_network_and_its_gradient_are_the_authors():
    case = read("l4f_losses")
    alpha = case["alpha"][:, 0].float().requires_grad_()
    foreground, background = case["foreground"].float(), case["background"].float()
    fake = composite(foreground, background, alpha)
    torch.testing.assert_close(fake.detach(), case["composite"].float(), atol=5e-3, rtol=0)
    logits = critic_of(case)(fake)
    torch.testing.assert_close(logits.detach(), case["d_fake"][:, 0], atol=1e-5, rtol=0)
    terms = {
        "binarisation": binarisation(alpha),
        "fg_coverage_0.25": missing_foreground(alpha, 0.25),
        "adversarial": generator_loss(logits),
        **{
            key: missing_background(alpha, float(key.rpartition("_")[2]))
            for key in case
            if key.startswith("bg_coverage_")
        },
    }
    assert len(terms) == 7
    for key, term in terms.items():
        assert float(term.detach()) == pytest.approx(float(case[key]), abs=1e-5), key
    names = [key.removeprefix("alpha_loss/") for key in case if key.startswith("alpha_loss/")]
    assert set(names) == set(PRESETS)
    for name in names:
        preset = PRESETS[name]
        loss = AlphaLoss(
            preset.adversarial_weight,
            preset.mask_weight,
            preset.background_weight,
            preset.least_background,
        )
        found = loss(alpha, logits)
        assert float(found.detach()) == pytest.approx(float(case[f"alpha_loss/{name}"]), abs=1e-5)
        if f"grad_alpha/{name}" in case:
            (slope,) = torch.autograd.grad(found, alpha, retain_graph=True)
            torch.testing.assert_close(slope, case[f"grad_alpha/{name}"][:, 0], atol=1e-5, rtol=0)


def test_the_critic_s_loss_and_its_penalty_are_the_authors():
    case = read("l4f_losses")
    criticise, real = critic_of(case), case["real"].float()
    of_real, of_fake = criticise(real), case["d_fake"][:, 0]
    torch.testing.assert_close(of_real, case["d_real"][:, 0], atol=1e-5, rtol=0)
    loss = float(discriminator_loss(of_real, of_fake))
    assert loss == pytest.approx(float(case["d_loss"]), abs=1e-5)
    penalty = float(r1_penalty(criticise, real, 2.0).detach())
    assert penalty == pytest.approx(float(case["r1_penalty"]), abs=1e-5)
    lazy = float(r1_penalty(criticise, real, R1_GAMMA).detach()) * R1_EVERY
    assert lazy == pytest.approx(float(case["r1_term_lazy"]), abs=1e-5)


@pytest.mark.parametrize("silenced", ["stage", "constant"])
def test_the_background_branch_is_the_authors(silenced):
    case = read("l4f_background_branch")
    bag = TensorBag(load_file(GOLDEN / "parity" / "sg2ada_u64_psi1.safetensors"), source="case")
    kwargs = {"mapping_kwargs": {"num_layers": 8}}
    network = Network(bag, kwargs, Numerics(torch.device("cpu"), torch.float32))
    ws = network.styles(case["z"], None)
    noise = network.const_noise()
    foreground, _ = network.synthesise(ws, noise)
    torch.testing.assert_close(foreground, case["foreground"], atol=1e-4, rtol=0)
    background, maps = network.synthesise(ws, noise, ["b8.conv1"], silenced=silenced)
    key = {"stage": "background_conv_zeroed", "constant": "background_constant_zeroed"}[silenced]
    torch.testing.assert_close(background, case[key], atol=1e-4, rtol=0)
    assert (background - foreground).abs().max() > 0.1
    if silenced == "stage":
        torch.testing.assert_close(
            maps["b8.conv1"], case["feature_b8.conv1_of_background"], atol=1e-4, rtol=0
        )


def test_the_average_of_the_weights_is_a_true_one():
    case = read("l4f_average")
    average = {name: case[f"start/{name}"].clone() for name in ("weight", "bias")}
    live = {name: case[f"live/{name}"] for name in average}
    for _ in range(100):
        update_average(average, live, 0.5 ** (1 / HALF_LIFE_STEPS))
    for name, tensor in average.items():
        torch.testing.assert_close(tensor, case[f"average_after_100/{name}"], atol=1e-6, rtol=0)


def test_a_short_training_s_average_forgets_where_it_began():
    left = np.prod([decay_of(step) for step in range(1, 501)])
    assert left < 1e-3
    assert decay_of(10**6) == pytest.approx(0.9977843871238888, abs=1e-12)
