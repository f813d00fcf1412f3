"""Directions that the authors' program found: read, never run."""

from pathlib import Path

import pytest
import torch

from factory.checkpoint.direction_file import read_direction
from factory.errors import WeightsError

FILES = Path(__file__).parents[2] / "golden" / "direction"


@pytest.mark.parametrize("sign", ["light", "dark"])
def test_a_file_of_the_authors_tells_its_direction_and_its_sign(sign):
    found = read_direction(FILES / f"melas_direction_{sign}.pth")
    assert found.direction.shape == (120,)
    assert float(found.direction.norm()) == pytest.approx(1, abs=1e-6)
    assert found.is_light == (sign == "light")


def test_a_file_without_settings_does_not_tell_its_sign(tmp_path):
    torch.save({"state_dict": {"d": torch.ones(1, 7)}, "iteration": 300}, tmp_path / "d.pth")
    assert read_direction(tmp_path / "d.pth").is_light is None


def test_plain_settings_are_read_too(tmp_path):
    cfg = {"losses": {"outside_circle_loss": -2.0}}
    torch.save({"state_dict": {"d": torch.ones(1, 3, 7)}, "cfg": cfg}, tmp_path / "d.pth")
    found = read_direction(tmp_path / "d.pth")
    assert found.direction.shape == (3, 7)
    assert found.is_light is False


@pytest.mark.parametrize(
    ("weight", "is_light"), [(10**400, True), (-(10**400), False), (float("nan"), None), (0, None)]
)
def test_whatever_number_stands_in_the_settings_it_has_a_sign_or_none(tmp_path, weight, is_light):
    cfg = {"losses": {"outside_circle_loss": weight}}
    torch.save({"state_dict": {"d": torch.ones(1, 7)}, "cfg": cfg}, tmp_path / "d.pth")
    assert read_direction(tmp_path / "d.pth").is_light is is_light


def test_a_direction_has_length_one_and_tells_the_one_that_is_stored(tmp_path):
    torch.save({"state_dict": {"d": torch.full((1, 3, 12), 0.5)}}, tmp_path / "d.pth")
    found = read_direction(tmp_path / "d.pth")
    assert found.length == pytest.approx(3)
    assert float(found.direction.norm()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.ones(3)}, "no direction in it"),
        ({"state_dict": {"w": torch.ones(1, 3)}}, "no direction in it"),
        ({"state_dict": {"d": "text"}}, "no direction in it"),
        ({"state_dict": {"d": torch.ones(7)}}, r"`d` of shape \(7,\)"),
        ({"state_dict": {"d": torch.ones(2, 7)}}, r"`d` of shape \(2, 7\)"),
        ({"state_dict": {"d": torch.zeros(1, 7)}}, "a direction of length 0;"),
        ({"state_dict": {"d": torch.full((1, 7), torch.nan)}}, "a direction of length nan;"),
        ({"state_dict": {"d": torch.full((1, 9), 1e30)}}, r"a direction of length 3e\+30;"),
        ({"state_dict": {"d": torch.full((1, 9), 1e-30)}}, "a direction of length 3e-30;"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(tmp_path, content, words):
    torch.save(content, tmp_path / "d.pth")
    with pytest.raises(WeightsError, match=words) as refused:
        read_direction(tmp_path / "d.pth")
    assert "a direction of" in str(refused.value)
