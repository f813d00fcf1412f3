"""BigGAN's settings are inferred from shapes in both public layouts, and held against a config."""

import pytest
import torch
from families import load_case, load_tensors

from factory.checkpoint.families.biggan import kwargs_of_ajbrock, kwargs_of_hf
from factory.checkpoint.families.state_dict import StateDict
from factory.errors import WeightsError

HF = "biggan_deep_hf_64_t04"


def state_of(name, **changed):
    return StateDict("x.pt", load_tensors(name) | changed)


@pytest.mark.parametrize("name", ["biggan_aj_64", "biggandeep_aj_64"])
def test_the_authors_layout_shows_the_settings_that_the_reference_was_made_with(name):
    wanted = load_case(name)["kwargs"]
    found, assumptions = kwargs_of_ajbrock(state_of(name), {})
    for key in wanted.keys() & found.keys() - {"SN_eps", "BN_eps", "blocks"}:
        assert found[key] == wanted[key], key
    assert assumptions[-1].startswith("truncation scales z only")
    assert len(assumptions) == (3 if found["deep"] else 2)


def test_what_the_tensors_contradict_is_refused():
    with pytest.raises(WeightsError, match="resolution 128 in the settings, 64 in the tensors"):
        kwargs_of_ajbrock(state_of("biggan_aj_64"), {"resolution": 128})
    depth = len(kwargs_of_ajbrock(state_of("biggandeep_aj_64"), {})[0]["blocks"]) + 1
    with pytest.raises(WeightsError, match=f"G_depth {depth} with"):
        kwargs_of_ajbrock(state_of("biggandeep_aj_64"), {"G_depth": depth})
    with pytest.raises(WeightsError, match="a first layer of 7 outputs"):
        kwargs_of_ajbrock(state_of("biggan_aj_64", **{"linear.weight": torch.ones(7, 4)}), {})


def test_the_ports_settings_are_its_config_and_without_one_they_are_inferred():
    shown, assumptions = kwargs_of_hf(state_of(HF), {})
    assert len(assumptions) == 1
    config = load_case(HF)["kwargs"]
    stated, none = kwargs_of_hf(state_of(HF), config)
    assert none == []
    for key in ("z_dim", "class_embed_dim", "channel_width", "num_classes", "n_stats"):
        assert stated[key] == shown[key] == config.get(key, shown[key]), key


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("z_dim", 7, "z_dim 7 in config.json"),
        ("layers", [[True, 1, 1]], "config.json has other layers than the tensors"),
        ("layers", "many", "config.json has other layers than the tensors"),
        ("output_dim", 63, "output_dim 63 with"),
    ],
)
def test_a_config_of_another_network_is_refused(key, value, found):
    config = kwargs_of_hf(state_of(HF), {})[0]
    with pytest.raises(WeightsError, match=found):
        kwargs_of_hf(state_of(HF), config | {key: value})


def test_a_tensor_that_is_missing_is_named():
    state = state_of(HF)
    del state.tensors["embeddings.weight"]
    with pytest.raises(WeightsError, match=r"tensor 'embeddings\.weight' is missing"):
        kwargs_of_hf(state, {})
