"""StyleGAN2's settings are inferred from shapes, and every name and shape is held against them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from factory.checkpoint.families.stylegan2 import (
    ASSUMED_CLAMP,
    ASSUMED_LR,
    add_filters,
    add_mean_style,
    check_tensors,
    default_filter,
    kwargs_of_tensors,
)
from factory.errors import WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"
CASES = {
    "sg2ada_u32_orig_clamp": ("orig", 32, 0),
    "sg2ada_u32_resnet_clamp": ("resnet", 32, 0),
    "sg2ada_u64_psi1": ("skip", 64, 0),
    "sg2ada_c32_psi07": ("skip", 32, 6),
}


def tensors_of(name="sg2ada_u64_psi1"):
    return load_file(PARITY / f"{name}.safetensors")


def kwargs_of(tensors, given=None):
    return kwargs_of_tensors("x.pt", tensors, given or {})


@pytest.mark.parametrize("name", CASES)
def test_architecture_size_and_classes_show_in_the_shapes(name):
    tensors = tensors_of(name)
    kwargs, assumptions = kwargs_of(tensors)
    architecture, resolution, num_classes = CASES[name]
    assert kwargs["synthesis_kwargs"]["architecture"] == architecture
    assert kwargs["img_resolution"] == resolution
    assert kwargs["c_dim"] == len(tensors.get("mapping.embed.weight", torch.zeros(1, 0)).T)
    assert bool(kwargs["c_dim"]) is bool(num_classes)
    assert assumptions == [ASSUMED_LR, ASSUMED_CLAMP]
    check_tensors("x.pt", tensors, kwargs)


def test_settings_may_be_nested_or_flat_and_flat_ones_win():
    nested = {"mapping_kwargs": {"lr_multiplier": 0.02}, "synthesis_kwargs": {"conv_clamp": 128}}
    kwargs, assumptions = kwargs_of(tensors_of(), nested | {"conv_clamp": 64})
    assert kwargs["mapping_kwargs"]["lr_multiplier"] == 0.02
    assert kwargs["synthesis_kwargs"]["conv_clamp"] == 64
    assert assumptions == []


def test_a_config_that_leaves_a_setting_out_means_its_writers_default():
    flat, assumptions = kwargs_of(tensors_of(), {"channel_base": 32768})
    assert flat["synthesis_kwargs"]["conv_clamp"] == 256
    assert flat["synthesis_kwargs"]["num_fp16_res"] == 4
    assert assumptions == []
    nested, _ = kwargs_of(tensors_of(), {"synthesis_kwargs": {"channel_base": 32768}})
    assert nested["synthesis_kwargs"]["conv_clamp"] is None
    assert nested["synthesis_kwargs"]["num_fp16_res"] == 0


def test_a_size_that_the_tensors_contradict_is_refused():
    with pytest.raises(WeightsError, match="img_resolution 128 in the settings, 64 in the tensors"):
        kwargs_of(tensors_of(), {"img_resolution": 128})


@pytest.mark.parametrize("gone", ["mapping.fc0.weight", "synthesis.b4.conv1.weight"])
def test_without_its_first_layers_it_is_no_stylegan2(gone):
    tensors = tensors_of()
    del tensors[gone]
    with pytest.raises(WeightsError, match=r"without mapping\.fc0, b4\.conv1 or its last torgb"):
        kwargs_of(tensors)


def test_missing_filters_are_added_and_counted():
    tensors = tensors_of()
    assert add_filters(tensors) == []
    filters = [name for name in tensors if name.endswith("resample_filter")]
    assert filters
    for name in filters:
        del tensors[name]
    (note,) = add_filters(tensors)
    assert note.startswith(f"{len(filters)} resample filters")
    assert all(torch.equal(tensors[name], default_filter()) for name in filters)
    assert float(default_filter().sum()) == pytest.approx(1)


def test_a_missing_mean_style_is_computed_and_is_near_the_one_of_the_training():
    tensors = tensors_of()
    kwargs, _ = kwargs_of(tensors)
    wanted = tensors["mapping.w_avg"].clone()
    assert add_mean_style("x.pt", tensors, kwargs) == []
    del tensors["mapping.w_avg"]
    (note,) = add_mean_style("x.pt", tensors, kwargs)
    assert note.startswith("mapping.w_avg computed")
    assert tensors["mapping.w_avg"].shape == wanted.shape
    assert bool(tensors["mapping.w_avg"].any())


def test_a_tensor_that_is_missing_strange_or_of_another_shape_is_named():
    whole = tensors_of()
    kwargs, _ = kwargs_of(whole)
    name = "synthesis.b8.conv0.affine.weight"
    with pytest.raises(WeightsError, match=rf"tensor '{name}' is missing"):
        check_tensors("x.pt", {key: t for key, t in whole.items() if key != name}, kwargs)
    with pytest.raises(WeightsError, match="tensor 'extra' does not belong to a StyleGAN2"):
        check_tensors("x.pt", whole | {"extra": torch.ones(1)}, kwargs)
    with pytest.raises(WeightsError, match=rf"tensor '{name}' has shape \(1,\)"):
        check_tensors("x.pt", whole | {name: torch.ones(1)}, kwargs)
