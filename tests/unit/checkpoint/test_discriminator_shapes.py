"""A discriminator is checked against its settings; content is divided into the two networks."""

import json

import pytest
import torch
from discriminators import nvidia

from factory.checkpoint.families.beside import build_checkpoint
from factory.checkpoint.families.discriminator_shapes import checked, guarded
from factory.checkpoint.families.own_training import is_training, of_training
from factory.checkpoint.files.content import open_content

SETTINGS = {"img_resolution": 64, "img_channels": 3, "c_dim": 0, "conv_clamp": None,
            "lr_multiplier": 0.01, "shortcut": "filtered"}  # fmt: skip


def tensors(**options):
    found = nvidia(**options)
    return {name: one for name, one in found.items() if not name.endswith("resample_filter")}


def test_settings_that_fit_are_kept_and_others_dropped():
    found = checked("x", tensors(), SETTINGS | {"stranger": 1})
    assert (found.kwargs, found.unfit) == (SETTINGS, "")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("img_resolution", 32, "without the tensor 'b32.fromrgb.bias'"),
        ("img_resolution", 48, "for images of 48 px"),
        ("img_resolution", 2**20, "for images of 1048576 px"),
        ("img_resolution", True, "without img_resolution"),
        ("img_channels", 1, "'b64.fromrgb.weight' has shape (8, 3, 1, 1) where (8, 1, 1, 1) fits"),
        ("c_dim", 5, "without the tensor 'mapping.embed.bias'"),
        ("conv_clamp", -1, "conv_clamp is no number above 0"),
        ("lr_multiplier", "much", "lr_multiplier is no number"),
        ("shortcut", "none", "of the shortcut 'none'"),
    ],
)
def test_settings_that_do_not_fit_are_told(name, value, reason):
    found = checked("x", tensors(), SETTINGS | {name: value})
    assert reason in found.unfit
    assert found.tensors == {}


def test_what_goes_wrong_with_one_is_a_reason_and_no_error():
    assert "(KeyError)" in guarded("x", lambda: {}["b4"]).unfit


def test_a_converted_file_is_divided_only_when_asked_for(tmp_path):
    from safetensors.torch import save_file

    generator = {"synthesis.b4.const": torch.zeros(1)}
    path = tmp_path / "dcgan.safetensors"
    beside = {f"discriminator.{name}": one.contiguous() for name, one in tensors().items()}
    metadata = {"family": "dcgan", "layout": "x", "kwargs": '{"z_dim": 3}',
                "discriminator": json.dumps(SETTINGS)}  # fmt: skip
    save_file(generator | beside, path, metadata)
    for wanted in (False, True):
        made = build_checkpoint(open_content(path), {}, dict, with_discriminator=wanted)
        assert made.tensors.keys() == generator.keys()
        assert (made.discriminator is not None) == wanted


def test_a_training_s_state_is_known_by_its_facts_alone():
    facts = {"kwargs": {"img_resolution": 64, "img_channels": 3, "c_dim": 0}, "resolution": 64}
    metadata = {"training": json.dumps(facts)}
    assert is_training(metadata)
    assert not is_training(metadata | {"family": "stylegan2"})
    stored = {f"discriminator/{name}": one.half() for name, one in tensors().items()}
    own, found, search = of_training("x", stored | {"mean/a": torch.zeros(1).half()}, metadata)
    assert own.keys() == {"a"}
    assert own["a"].dtype == torch.float32
    assert json.loads(found["kwargs"]) == facts["kwargs"]
    assert search().kwargs["shortcut"] == "pooled"
