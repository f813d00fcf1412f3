"""Tensors on their way from one program's names to another's: each once, and none left over."""

import pytest
import torch

from factory.checkpoint.families.renaming import Renaming, first, first_map, scalar
from factory.checkpoint.families.state_dict import StateDict
from factory.errors import WeightsError


def renaming(**tensors):
    return Renaming(StateDict("a.pt", tensors), "somebody")


def test_what_is_moved_is_changed_and_gone_from_the_old_names():
    moved = renaming(a=torch.arange(6.0).view(2, 3), b=torch.tensor([5.0]))
    moved.move("a", "weight", lambda tensor: tensor.T)
    moved.move("b", "strength", scalar)
    assert "a" not in moved
    made, assumed = moved.finish()
    assert made["weight"].is_contiguous()
    assert made["weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert (made["strength"].shape, float(made["strength"])) == ((), 5.0)
    assert assumed == []


def test_a_tensor_that_is_missing_left_over_or_of_other_axes_is_another_architecture():
    with pytest.raises(WeightsError, match=r"a\.pt: tensor 'b' is missing; .*somebody's StyleGAN2"):
        renaming(a=torch.zeros(1)).take("b")
    with pytest.raises(WeightsError, match="tensor 'a' is left over"):
        renaming(a=torch.zeros(1)).finish()
    with pytest.raises(WeightsError, match=r"tensor 'a' has shape \(2,\): a noise strength is one"):
        renaming(a=torch.zeros(2)).move("a", "b", scalar)


@pytest.mark.parametrize(
    ("change", "good", "bad"),
    [
        (scalar, (1, 1), (2,)),
        (first, (1, 5), (2, 5)),
        (first_map, (1, 1, 4, 4), (1, 2, 4, 4)),
    ],
)
def test_axes_are_dropped_only_if_they_hold_nothing(change, good, bad):
    assert change(torch.zeros(good)).numel() == torch.zeros(good).numel()
    with pytest.raises(ValueError, match=" "):
        change(torch.zeros(bad))


def test_noise_that_the_file_lacks_is_drawn_alike_every_time_and_told():
    drawn = []
    for _ in range(2):
        moved = renaming()
        for lane in range(2):
            moved.draw_noise(f"noise{lane}", 8, lane)
        made, (assumed,) = moved.finish()
        drawn.append(made)
    assert assumed.startswith("2 noise maps drawn from a fixed seed")
    assert torch.equal(drawn[0]["noise0"], drawn[1]["noise0"])
    assert not torch.equal(drawn[0]["noise0"], drawn[0]["noise1"])
