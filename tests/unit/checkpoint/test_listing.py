"""The tensors of any file, by name, for generators of one's own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.checkpoint import list_tensors, read_tensors
from factory.errors import WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"


def test_tensors_are_listed_with_the_keys_that_lead_to_them(tmp_path):
    found = {"epoch": 3, "nets": {"G": {"a.weight": torch.zeros(2, 3).half(), "b": torch.tensor(1)}},
             "state": [{"c": torch.zeros(4, dtype=torch.uint16)}]}  # fmt: skip
    torch.save(found, tmp_path / "x.pt")
    facts = [(fact.name, fact.dtype, fact.shape) for fact in list_tensors(tmp_path / "x.pt")]
    assert facts == [
        ("nets.G.a.weight", "float16", (2, 3)), ("nets.G.b", "int64", ()),
        ("state.0.c", "uint16", (4,)),
    ]  # fmt: skip
    assert read_tensors(tmp_path / "x.pt", "nets.G.").keys() == {"a.weight", "b"}
    with pytest.raises(WeightsError, match=r"no tensor has a name that begins with 'nets\.D\.'"):
        read_tensors(tmp_path / "x.pt", "nets.D.")
    with pytest.raises(WeightsError, match="of type uint16"):
        read_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["dcgan_64.safetensors", "rosinality_u64.pt", "tf_sg2_u32.pkl"])
def test_every_format_is_listed(name):
    assert len(list_tensors(PARITY / name)) > 20


def test_a_network_that_was_pickled_whole_is_listed_by_its_modules():
    names = {fact.name for fact in list_tensors(PARITY / "sg2ada_u64_scrubbed_p4.pkl")}
    assert "G_ema.synthesis.b4.const" in names


def test_names_of_a_flat_file_are_its_own(tmp_path):
    tensors = load_file(PARITY / "dcgan_64.safetensors")
    save_file(tensors, tmp_path / "x")
    assert read_tensors(tmp_path / "x").keys() == tensors.keys()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    torch.save({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "x")
    assert len(list_tensors(tmp_path / "x")) == 1
    with pytest.raises(WeightsError, match="'a' holds NaN"):
        read_tensors(tmp_path / "x")
