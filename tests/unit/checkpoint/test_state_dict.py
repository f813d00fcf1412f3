import pytest
import torch

from factory.checkpoint.families.state_dict import StateDict
from factory.errors import WeightsError

STATE = StateDict("a.pt", {f"layer{i}.weight": torch.zeros(i + 1, 2) for i in (0, 1, 2, 4)})


def test_consecutive_names_are_counted_up_to_the_first_gap():
    assert STATE.count("layer{}.weight") == 3
    assert STATE.count_from(1, "layer{}.weight") == 2
    assert STATE.count_from(3, "layer{}.weight") == 0
    assert STATE.count_from(4, "layer{}.weight") == 1


def test_shapes_are_told_and_one_that_is_missing_is_named():
    assert STATE.shape("layer2.weight") == STATE.shapes["layer2.weight"] == (3, 2)
    with pytest.raises(WeightsError, match=r"a\.pt: tensor 'layer3\.weight' is missing"):
        STATE.shape("layer3.weight")
