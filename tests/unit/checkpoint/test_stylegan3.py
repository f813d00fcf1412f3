"""StyleGAN3's layers are computed from the published plan, and equal to those that a file states."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from factory.checkpoint.families.stylegan3 import kwargs_of_tensors
from factory.checkpoint.families.stylegan3_shapes import check_layer, check_tensors
from factory.errors import WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"


@pytest.fixture(params=["sg3t_64_psi1", "sg3r_64_psi1"])
def name(request):
    return request.param


def tensors_of(name):
    return load_file(PARITY / f"{name}.safetensors")


def inferred(name, given=None, tensors=None):
    return kwargs_of_tensors("x.pt", tensors or tensors_of(name), given or {})


def test_layers_inferred_from_shapes_are_those_of_the_reference_network(name):
    tensors = tensors_of(name)
    kwargs, assumptions = inferred(name)
    check_tensors("x.pt", tensors, kwargs)
    assert len(assumptions) == 2
    assert kwargs["num_ws"] == len(kwargs["layer_names"]) + 1
    for layer in kwargs["layer_names"]:
        check_layer("x.pt", layer, kwargs["layers"][layer])
    last = kwargs["layers"][kwargs["layer_names"][-1]]
    assert last["is_torgb"]
    assert last["out_size"] == [64, 64]


def test_settings_of_a_job_win_over_assumptions(name):
    kwargs, assumptions = inferred(name, {"lr_multiplier": 0.5, "conv_clamp": 64})
    assert kwargs["mapping_kwargs"]["lr_multiplier"] == 0.5
    assert {layer["conv_clamp"] for layer in kwargs["layers"].values()} == {64}
    assert assumptions == []


def test_a_file_that_states_its_layers_keeps_them_but_for_the_clamp(name):
    first, _ = inferred(name)
    again, assumptions = inferred(name, first)
    assert (again, assumptions) == (first, [])
    changed, _ = inferred(name, first | {"conv_clamp": 32})
    assert {layer["conv_clamp"] for layer in changed["layers"].values()} == {32}
    with pytest.raises(
        WeightsError, match="setting first_cutoff 3 for a file that states its layers"
    ):
        inferred(name, first | {"first_cutoff": 3})


def test_sizes_that_the_tensors_contradict_are_refused(name):
    with pytest.raises(WeightsError, match="img_resolution 32 in the settings, 64 in the tensors"):
        inferred(name, {"img_resolution": 32})


def test_a_network_with_a_gap_in_its_layers_is_refused(name):
    tensors = tensors_of(name)
    kwargs, _ = inferred(name)
    gap = kwargs["layer_names"][2]
    rest = {key: tensor for key, tensor in tensors.items() if f".{gap}." not in key}
    with pytest.raises(WeightsError, match="layers whose numbers have gaps"):
        inferred(name, tensors=rest)


def test_another_filter_plan_does_not_fit_the_names(name):
    with pytest.raises(WeightsError, match="where the published network has a size of"):
        inferred(name, {"margin_size": 20})


def test_a_tensor_that_is_missing_strange_or_of_another_shape_is_named(name):
    whole = tensors_of(name)
    kwargs, _ = inferred(name)
    with pytest.raises(WeightsError, match=r"tensor 'mapping\.w_avg' is missing"):
        check_tensors("x", {k: t for k, t in whole.items() if k != "mapping.w_avg"}, kwargs)
    with pytest.raises(WeightsError, match="tensor 'extra' does not belong"):
        check_tensors("x", whole | {"extra": torch.ones(1)}, kwargs)
    with pytest.raises(WeightsError, match=r"tensor 'mapping\.w_avg' has shape \(1,\)"):
        check_tensors("x", whole | {"mapping.w_avg": torch.ones(1)}, kwargs)


@pytest.mark.parametrize(
    ("key", "value"),
    [("in_channels", 0), ("up_taps", 2.0), ("out_cutoff", -1), ("use_fp16", 1), ("in_size", [1]),
     ("padding", [1, 2, 3]), ("conv_clamp", True), ("out_size", 2**20)],
)  # fmt: skip
def test_an_attribute_of_another_type_or_size_is_named(key, value):
    kwargs, _ = inferred("sg3t_64_psi1")
    layer = kwargs["layers"][kwargs["layer_names"][0]]
    with pytest.raises(WeightsError, match=f"layer 'L0' has {key}"):
        check_layer("x.pt", "L0", layer | {key: value})
