"""Alpha networks in the layouts of Labels4Free's authors: read as they are stored, or refused."""

import argparse
from pathlib import Path

import pytest
import torch

from factory.checkpoint.alpha_network import arrange, read_alpha_network
from factory.errors import WeightsError

GOLDEN = Path(__file__).parents[2] / "golden" / "alpha"
FILES = {
    "labels4free_alpha_1024_generic": [512, 512, 256, 128, 64, 32],
    "labels4free_alpha_256_paper_ddp": [512, 512, 512, 512, 256, 128],
}


def stored(name):
    """The file's own numbers, read by torch, which is allowed to make its one class of another kind."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(GOLDEN / f"{name}.pt", weights_only=True)


@pytest.mark.parametrize("name", FILES)
def test_a_released_network_is_read_as_it_is_stored(name):
    found = read_alpha_network(GOLDEN / f"{name}.pt")
    assert list(found.channels) == [width for width in FILES[name] for _ in (0, 1)]
    state = stored(name)["bg_extractor_ema"]
    is_generic = "conv_fns0.0.weight" in state
    names = [f"conv_fns{one}.{place}" for place in range(6) for one in (0, 1)]
    names = names if is_generic else [f"conv{number}" for number in range(1, 13)]
    for one, theirs in zip(found.maps, names, strict=True):
        assert torch.equal(one.weight, state[f"{theirs}.weight"][:, :, 0, 0].float())
        assert torch.equal(one.bias, state[f"{theirs}.bias"].float())
    merges = ["conv_next", *(f"conv_next{number}" for number in (2, 3, 4))]
    merges = [f"conv_merge_fns.{place}" for place in range(4)] if is_generic else merges
    for one, theirs in zip(found.merges, merges, strict=True):
        assert torch.equal(one.weight, state[f"{theirs}.weight"][:, :, 0, 0].float())
    assert torch.equal(found.last.weight, state["conv_n.weight"][:, :, 0, 0].float())


@pytest.mark.parametrize("name", FILES)
def test_a_network_of_several_devices_is_the_same(name, tmp_path):
    whole = stored(name)
    state = whole["bg_extractor"]
    del whole["bg_extractor_ema"]
    torch.save(whole, tmp_path / "live.pt")
    found = read_alpha_network(tmp_path / "live.pt")
    last = next(one for key, one in state.items() if key.endswith("conv_n.weight"))
    assert torch.equal(found.last.weight, last[:, :, 0, 0].float())


def small_state(count=3, channels=4):
    """An alpha network of `count` resolutions in the generic layout."""
    torch.manual_seed(0)
    shapes = {f"conv_fns{one}.{place}": (3, channels) for place in range(count) for one in (0, 1)}
    shapes |= {f"conv_merge_fns.{place}": (6, 12) for place in range(count - 2)}
    shapes["conv_n"] = (1, 6)
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(*shape, 1, 1)
        state[f"{name}.bias"] = torch.randn(shape[0])
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_n.bias": None}, "no whole 'conv_n'"),
        ({"conv_n.weight": torch.zeros(2, 6, 1, 1)}, r"'conv_n' of shapes \(2, 6, 1, 1\)"),
        ({"conv_fns0.1.weight": torch.zeros(3, 4, 3, 3)}, r"'conv_fns0\.1' of shapes"),
        ({"conv_fns0.1.weight": torch.full((3, 4, 1, 1), torch.nan)}, "not finite"),
        (
            {"conv_n.weight": torch.full((1, 6, 1, 1), 1e300, dtype=torch.float64)},
            "not finite in float32",
        ),
        ({"extra.weight": torch.zeros(1)}, "a part 'extra' that no such network has"),
        ({"conv_merge_fns.0.weight": torch.zeros(6, 6, 1, 1)}, r"'conv_merge_fns\.0' of shapes"),
    ],
)
def test_a_network_that_is_not_whole_is_refused(change, message):
    assert len(arrange(small_state(), "it").maps) == 6
    state = {k: v for k, v in (small_state() | change).items() if v is not None}
    with pytest.raises(WeightsError, match=message):
        arrange(state, "it")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"g": {}}, "no alpha network in it"),
        ({"bg_extractor_ema": {"conv_n.weight": 3}}, "a part 'conv_n.weight' that is no tensor"),
        ({"bg_extractor_ema": {}}, "feature maps of 0 resolutions"),
        (
            {
                "bg_extractor": {
                    name: torch.ones(1) for name in ("conv_n.bias", "module.conv_n.bias")
                }
            },
            "'conv_n.bias' twice, with and without 'module.'",
        ),
    ],
)
def test_a_file_without_one_is_refused_with_what_is_allowed(content, message, tmp_path):
    path = tmp_path / "it.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_alpha_network(path)
    assert "an alpha network of Labels4Free is allowed" in str(caught.value)
