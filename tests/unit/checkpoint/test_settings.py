"""Settings stated in a file, held against what their family can have and what the tensors show."""

import copy

import pytest

from factory.checkpoint.families.settings import (
    check_given,
    check_settings,
    check_stated,
    note_ignored,
    width_warnings,
)
from factory.errors import WeightsError

STYLEGAN2 = {
    "z_dim": 64,
    "c_dim": 0,
    "w_dim": 64,
    "img_resolution": 32,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2, "lr_multiplier": 0.01},
    "synthesis_kwargs": {"conv_clamp": None, "num_fp16_res": 0, "architecture": "skip"},
}


def changed(place, value):
    kwargs = copy.deepcopy(STYLEGAN2)
    *outer, last = place.split(".")
    section = kwargs
    for name in outer:
        section = section[name]
    section[last] = value
    return kwargs


def test_settings_of_sensible_sizes_are_returned_as_they_are():
    assert check_settings("x.pkl", "stylegan2", STYLEGAN2) is STYLEGAN2
    assert check_settings("x.pkl", "dcgan", {"z_dim": 100, "img_channels": 1})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("z_dim", 2**20 + 1),
        ("z_dim", -1),
        ("w_dim", True),
        ("img_channels", None),
        ("mapping_kwargs.num_layers", 0),
        ("mapping_kwargs.lr_multiplier", float("inf")),
        ("mapping_kwargs.lr_multiplier", 0),
        ("synthesis_kwargs.conv_clamp", -256),
        ("synthesis_kwargs.num_fp16_res", 1.5),
        ("synthesis_kwargs.architecture", "skipped"),
    ],
)
def test_a_setting_of_another_type_or_size_is_named(place, value):
    with pytest.raises(WeightsError, match=rf"x\.pkl: setting {place} is "):
        check_settings("x.pkl", "stylegan2", changed(place, value))


def test_sections_that_are_no_mappings_are_refused():
    with pytest.raises(WeightsError, match="mapping_kwargs or synthesis_kwargs"):
        check_settings("x.pkl", "stylegan2", changed("synthesis_kwargs", [1]))


def test_given_settings_are_checked_by_their_family_and_what_is_beside_them_is_left_alone():
    given = {"lr_multiplier": 0.1, "img_resolution": "whatever"}
    assert check_given("x.pt", "stylegan2", given) is given
    with pytest.raises(WeightsError, match=r"x\.pt: setting lr_multiplier is 'much'"):
        check_given("x.pt", "stylegan2", {"lr_multiplier": "much"})


def test_what_a_converted_file_says_of_a_layer_beside_its_settings_is_no_mistake():
    layer = {"name": "main.0", "kind": "conv_transpose", "stride": 2, "padding": 1}
    shown = {"in_channels": 100, "kernel": 4, "norm": "batch"}
    assert check_given("x.pt", "dcgan", {"layers": [layer | shown, layer | {"name": "main.1"}]})
    with pytest.raises(WeightsError, match=r"setting layers\.0\.stride is 'two'"):
        check_given("x.pt", "dcgan", {"layers": [layer | {"stride": "two"}, layer]})


def test_a_statement_that_the_tensors_contradict_is_refused_and_an_empty_one_is_none():
    check_stated("x.pt", {"z_dim": 64, "w_dim": None, "other": 3}, {"z_dim": 64, "w_dim": 512})
    with pytest.raises(WeightsError, match="z_dim 64 in the settings, 128 in the tensors"):
        check_stated("x.pt", {"z_dim": 64}, {"z_dim": 128})


def test_settings_that_nothing_reads_are_listed_up_to_twenty():
    assert note_ignored({"z_dim": 1}, {"z_dim"}) == []
    assert note_ignored({"z_dim": 1, "lr": 2}, {"z_dim"}) == ["ignored settings: 'lr'"]
    (note,) = note_ignored({f"k{number}": 0 for number in range(23)}, ())
    assert "'k19' and 3 more" in note
    assert "'k20'" not in note


def test_a_width_that_latents_never_have_may_hold_a_label_too():
    assert [
        width for width in (62, 64, 100, 128, 250, 512) if width_warnings(width, "classes")
    ] == []
    assert "{classes: 10}" in width_warnings(138, "classes")[0]
    assert "{label_size: 3}" in width_warnings(103, "label_size")[0]
