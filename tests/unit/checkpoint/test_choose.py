"""The checkpoint of a file's content: which network, under which names, with which settings."""

import json
from pathlib import Path

import pytest
import torch
from families import load_tensors
from safetensors.torch import load_file

from factory.checkpoint.families.choose import from_object, from_tensors
from factory.checkpoint.families.search import NO_AVERAGE
from factory.checkpoint.files.content import open_content
from factory.checkpoint.pickles.source import Budget
from factory.errors import UnknownGeneratorError, WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"
STYLEGAN2 = load_file(PARITY / "sg2ada_u32_orig_clamp.safetensors")


def tensors(family="dcgan_64"):
    return load_tensors(family)


def of_object(found, given=None, config=dict):
    return from_object(found, Budget("x.pt", 2**24), "torch zip", given or {}, config)


def of_tensors(found, metadata=None, given=None):
    return from_tensors("x", found, metadata or {}, given or {})


def test_a_bare_state_dict_and_one_inside_others_give_the_same_network():
    bare = of_object(tensors())
    inside = of_object({"models": {"netG": tensors()}, "epoch": 3})
    assert bare.layout == "torch zip (bare state dict)"
    assert inside.layout == "torch zip (models.netG)"
    assert (bare.family, bare.kwargs) == (inside.family, inside.kwargs)
    assert all(torch.equal(bare.tensors[name], inside.tensors[name]) for name in bare.tensors)


def test_a_config_is_read_only_for_the_family_that_needs_it():
    asked = []
    of_object(tensors(), config=lambda: asked.append(1) or {})
    assert asked == []
    of_object(tensors("biggan_deep_hf_64_t04"), config=lambda: asked.append(1) or {})
    assert asked == [1]


def test_settings_that_a_job_states_reach_the_network_and_others_are_noted():
    found = of_object(tensors(), {"output_activation": "sigmoid", "my_note": 1})
    assert found.kwargs["output_activation"] == "sigmoid"
    assert found.notes == ["ignored settings: 'my_note'"]


def test_what_we_wrote_is_restored_unchanged():
    first = of_tensors(STYLEGAN2)
    metadata = {
        "family": "stylegan2",
        "layout": "somewhere else",
        "kwargs": json.dumps(first.kwargs),
        "assumptions": '["one"]',
        "notes": '["two"]',
        "class_names": '["cat"]',
        "license": "CC0",
        "source_length": "7",
    }
    again = of_tensors(first.tensors, metadata)
    assert (again.layout, again.assumptions, again.notes) == ("somewhere else", ["one"], ["two"])
    assert (again.class_names, again.license, again.source_length) == (["cat"], "CC0", 7)
    assert again.kwargs == first.kwargs
    given = of_tensors(first.tensors, metadata, {"lr_multiplier": 1})
    assert given.kwargs["mapping_kwargs"]["lr_multiplier"] == 1
    assert "two" in given.notes


@pytest.mark.parametrize("text", ["{", "[]", '{"a": NaN}', "[" * 10**5])
def test_metadata_that_is_not_the_json_it_should_be_is_refused(text):
    with pytest.raises(WeightsError, match="metadata 'kwargs' is not the JSON object"):
        of_tensors(tensors(), {"kwargs": text})


def test_tensors_that_are_no_generator_are_refused():
    with pytest.raises(UnknownGeneratorError):
        of_tensors({"a.weight": torch.ones(2, 2)})


def pickled(name="sg2ada_u64_scrubbed_p4.pkl"):
    """The content of NVIDIA's pickle, and the limits that it is read under."""
    content = open_content(PARITY / name)
    return content.found, content.budget


def of_networks(found, budget, given=None):
    return from_object(found, budget, "pickle", given or {}, dict)


@pytest.mark.parametrize(
    ("keys", "assumption"),
    [
        (("D", "G", "G_ema"), None),
        (("G", "D"), NO_AVERAGE),
        (("net",), None),
    ],
)
def test_of_several_networks_the_averaged_one_is_taken(keys, assumption):
    found, budget = pickled()
    network = found["G_ema"]
    checkpoint = of_networks(dict.fromkeys(keys, network), budget)
    assert checkpoint.family == "stylegan2"
    assert checkpoint.layout.startswith("nvidia-pkl")
    assert (assumption in checkpoint.assumptions) is (assumption is not None)
    assert checkpoint.source_length > 0


def test_of_networks_without_names_the_last_is_taken_and_that_is_told():
    found, budget = pickled()
    network = found["G_ema"]
    checkpoint = of_networks((network, network), budget)
    assert "the last of 2 networks is the averaged generator" in checkpoint.assumptions
    alone = of_networks(network, budget)
    assert any("does not say whether it is averaged" in line for line in alone.assumptions)


@pytest.mark.slow
def test_settings_cannot_change_a_network_that_states_its_own():
    stated = of_networks(*pickled()).kwargs["z_dim"]
    assert of_networks(*pickled(), {"z_dim": stated}).kwargs["z_dim"] == stated
    with pytest.raises(WeightsError, match="z_dim 7 in the settings"):
        of_networks(*pickled(), {"z_dim": 7})
